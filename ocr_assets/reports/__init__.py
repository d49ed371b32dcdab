"""What people look at to judge a result."""
