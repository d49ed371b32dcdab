"""Work done by a Ray cluster. Nothing else imports Ray, which takes a second."""
