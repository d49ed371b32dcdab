/* A libnvidia-ml.so.1 without a GPU: what it reports is read, at every call, from the files in the
 * folder named by FAKE_NVML_STATE. tests/fake_nvml/__init__.py writes them and describes them.
 *
 * nvmlInit, the symbol of NVML 1, is left out on purpose. PyTorch's own NVML path looks it up, and
 * falls back to CUDA's count of devices where it is missing, so a test that has this library loaded
 * does not make torch.cuda see GPUs that CUDA cannot use.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
       INSUFFICIENT_SIZE = 7, LIBRARY_NOT_FOUND = 12, GPU_IS_LOST = 15, MEMORY = 20,
       ARGUMENT_VERSION_MISMATCH = 25 };
enum { MAX_GPUS = 64, MAX_MIG = 7, TEXT = 96 };
#define SCAN_TEXT "%95s"
#define WHOLE "-" /* the parent of a whole GPU */
#define MEMORY_V2 0x02000028u

typedef unsigned long long bytes;

typedef struct {
    char uuid[TEXT], parent[TEXT];
    unsigned gpu_instance, compute_instance;
    bytes total, used;
    int handle_fault, memory_fault, mig_mode; /* mig_mode: -1 not supported, 0 off, 1 on */
    char name[TEXT];
} Gpu;

typedef struct {
    unsigned count;
    Gpu gpus[MAX_GPUS];
} Machine;

typedef struct {
    char version[TEXT];
    int cuda_version, init_error;
} Driver;

/* A handle stands for a UUID and is never freed, so one that outlived its GPU can be told apart. */
typedef struct Handle {
    struct Handle *next;
    char uuid[TEXT];
} *nvmlDevice_t;

typedef struct {
    bytes total, free, used;
} nvmlMemory_t;

typedef struct {
    unsigned version;
    bytes total, reserved, free, used;
} nvmlMemory_v2_t;

static _Atomic(nvmlDevice_t) handles;
static atomic_uint references;

/* ---- state ---------------------------------------------------------------------------------- */

static int state_path(char *path, const char *folder, const char *name) {
    const char *state = getenv("FAKE_NVML_STATE");
    if (!state || !*state) return -1;
    return snprintf(path, PATH_MAX, "%s/%s%s", state, folder, name) < PATH_MAX ? 0 : -1;
}

static FILE *open_state(const char *name) {
    char path[PATH_MAX];
    return state_path(path, "", name) ? NULL : fopen(path, "re");
}

static int read_driver(Driver *driver) {
    FILE *file = open_state("driver");
    if (!file) return LIBRARY_NOT_FOUND;
    int fields = fscanf(file, SCAN_TEXT " %d %d", driver->version, &driver->cuda_version,
                        &driver->init_error);
    fclose(file);
    return fields == 3 ? SUCCESS : LIBRARY_NOT_FOUND;
}

static void read_machine(Machine *machine) {
    machine->count = 0;
    FILE *file = open_state("gpus");
    if (!file) return;
    while (machine->count < MAX_GPUS) {
        Gpu *gpu = &machine->gpus[machine->count];
        int fields = fscanf(file, SCAN_TEXT " " SCAN_TEXT " %u %u %llu %llu %d %d %d %95[^\n]",
                            gpu->uuid, gpu->parent, &gpu->gpu_instance, &gpu->compute_instance,
                            &gpu->total, &gpu->used, &gpu->handle_fault, &gpu->memory_fault,
                            &gpu->mig_mode, gpu->name);
        if (fields != 10) break;
        machine->count++;
    }
    fclose(file);
}

/* Memory of living processes: the allocation files whose lock somebody holds. */
static bytes held_bytes(const char *uuid) {
    char path[PATH_MAX];
    DIR *folder = state_path(path, "allocations/", uuid) ? NULL : opendir(path);
    if (!folder) return 0;
    bytes held = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        int file = openat(dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        if (flock(file, LOCK_SH | LOCK_NB) == 0) {
            flock(file, LOCK_UN); /* not left to close(): a fork may have copied the descriptor */
        } else {
            char text[32] = "";
            if (read(file, text, sizeof text - 1) > 0) held += strtoull(text, NULL, 10);
        }
        close(file);
    }
    closedir(folder);
    return held;
}

static int is_child(const Gpu *gpu, const char *parent) { return !strcmp(gpu->parent, parent); }

static int is_mig(const Gpu *gpu) { return !is_child(gpu, WHOLE); }

/* A GPU's use includes that of its MIG instances. */
static bytes used_bytes(const Machine *machine, const Gpu *gpu) {
    char path[PATH_MAX];
    int lock = state_path(path, "", "lock") ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (lock >= 0) flock(lock, LOCK_SH); /* no allocation changes while they are summed */
    bytes used = gpu->used + held_bytes(gpu->uuid);
    for (unsigned i = 0; i < machine->count; i++)
        if (is_child(&machine->gpus[i], gpu->uuid))
            used += machine->gpus[i].used + held_bytes(machine->gpus[i].uuid);
    if (lock >= 0) {
        flock(lock, LOCK_UN);
        close(lock);
    }
    return used;
}

/* ---- handles -------------------------------------------------------------------------------- */

static int give_handle(const Gpu *gpu, nvmlDevice_t *device) {
    if (gpu->handle_fault) return gpu->handle_fault;
    nvmlDevice_t head = atomic_load(&handles);
    for (nvmlDevice_t known = head; known; known = known->next)
        if (strcmp(known->uuid, gpu->uuid) == 0) return *device = known, SUCCESS;
    nvmlDevice_t fresh = malloc(sizeof *fresh);
    if (!fresh) return MEMORY;
    memcpy(fresh->uuid, gpu->uuid, sizeof fresh->uuid);
    do fresh->next = head;
    while (!atomic_compare_exchange_weak(&handles, &head, fresh));
    return *device = fresh, SUCCESS;
}

static Gpu *find_uuid(Machine *machine, const char *uuid) {
    for (unsigned i = 0; i < machine->count; i++)
        if (strcmp(machine->gpus[i].uuid, uuid) == 0) return &machine->gpus[i];
    return NULL;
}

static Gpu *find_index(Machine *machine, const char *parent, unsigned index) {
    for (unsigned i = 0; i < machine->count; i++)
        if (is_child(&machine->gpus[i], parent) && index-- == 0) return &machine->gpus[i];
    return NULL;
}

/* What every call with a handle checks first; `result` is where the caller wants its answer. */
static int look_up(nvmlDevice_t device, const void *result, Machine *machine, Gpu **gpu) {
    if (!atomic_load(&references)) return UNINITIALIZED;
    nvmlDevice_t known = atomic_load(&handles);
    while (known && known != device) known = known->next;
    if (!known || !result) return INVALID_ARGUMENT;
    read_machine(machine);
    *gpu = find_uuid(machine, device->uuid);
    return *gpu ? SUCCESS : GPU_IS_LOST;
}

#define LOOK_UP(device, result)                             \
    Machine machine;                                        \
    Gpu *gpu;                                               \
    int code = look_up((device), (result), &machine, &gpu); \
    if (code) return code

/* For the questions that only MIG instances answer. */
#define LOOK_UP_MIG(device, result) \
    LOOK_UP(device, result);        \
    if (!is_mig(gpu)) return gpu->mig_mode < 0 ? NOT_SUPPORTED : INVALID_ARGUMENT

static int give_text(const char *text, char *result, unsigned length) {
    if (!result) return INVALID_ARGUMENT;
    if (strlen(text) >= length) return INSUFFICIENT_SIZE;
    strcpy(result, text);
    return SUCCESS;
}

/* ---- the library ---------------------------------------------------------------------------- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    Driver driver;
    int code = read_driver(&driver);
    if (!code) code = driver.init_error;
    if (!code) atomic_fetch_add(&references, 1);
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    unsigned held = atomic_load(&references);
    do
        if (!held) return UNINITIALIZED;
    while (!atomic_compare_exchange_weak(&references, &held, held - 1));
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    static _Thread_local char text[32]; /* pynvml has its own words for the codes that it knows */
    snprintf(text, sizeof text, code ? "NVML error %d" : "Success", code);
    return text;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    if (!atomic_load(&references)) return UNINITIALIZED;
    Driver driver;
    int code = read_driver(&driver);
    return code ? code : give_text(driver.version, version, length);
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) { /* NVML answers this before init, too */
    Driver driver;
    if (!version) return INVALID_ARGUMENT;
    int code = read_driver(&driver);
    if (!code) *version = driver.cuda_version;
    return code;
}

int nvmlSystemGetCudaDriverVersion(int *version) {
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (!atomic_load(&references)) return UNINITIALIZED;
    if (!count) return INVALID_ARGUMENT;
    Machine machine;
    read_machine(&machine);
    for (*count = 0; find_index(&machine, WHOLE, *count);) ++*count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    if (!atomic_load(&references)) return UNINITIALIZED;
    if (!device) return INVALID_ARGUMENT;
    Machine machine;
    read_machine(&machine);
    Gpu *gpu = find_index(&machine, WHOLE, index);
    return gpu ? give_handle(gpu, device) : INVALID_ARGUMENT;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    if (!atomic_load(&references)) return UNINITIALIZED;
    if (!uuid || !device) return INVALID_ARGUMENT;
    Machine machine;
    read_machine(&machine);
    Gpu *gpu = find_uuid(&machine, uuid);
    return gpu ? give_handle(gpu, device) : NOT_FOUND;
}

int nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length) {
    LOOK_UP(device, uuid);
    return give_text(gpu->uuid, uuid, length);
}

int nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    LOOK_UP(device, name);
    return give_text(gpu->name, name, length);
}

/* Whole GPUs and the MIG instances of one GPU are counted apart. */
int nvmlDeviceGetIndex(nvmlDevice_t device, unsigned *index) {
    LOOK_UP(device, index);
    unsigned position = 0;
    while (find_index(&machine, gpu->parent, position) != gpu) position++;
    *index = position;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    LOOK_UP(device, memory);
    if (gpu->memory_fault) return gpu->memory_fault;
    bytes used = used_bytes(&machine, gpu);
    *memory = (nvmlMemory_t){gpu->total, used < gpu->total ? gpu->total - used : 0, used};
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    nvmlMemory_t plain;
    int code = nvmlDeviceGetMemoryInfo(device, memory ? &plain : NULL);
    if (code) return code;
    if (memory->version != MEMORY_V2) return ARGUMENT_VERSION_MISMATCH;
    *memory = (nvmlMemory_v2_t){MEMORY_V2, plain.total, 0, plain.free, plain.used};
    return SUCCESS;
}

int nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    LOOK_UP(device, pending ? current : NULL);
    if (gpu->mig_mode < 0) return NOT_SUPPORTED;
    *current = *pending = (unsigned)gpu->mig_mode;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count) {
    LOOK_UP(device, count);
    *count = gpu->mig_mode == 1 ? MAX_MIG : 0; /* zero, not an error, where not supported */
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t *mig) {
    LOOK_UP(device, mig);
    if (gpu->mig_mode < 0) return NOT_SUPPORTED;
    if (index >= MAX_MIG) return INVALID_ARGUMENT;
    Gpu *instance = find_index(&machine, gpu->uuid, index);
    return instance ? give_handle(instance, mig) : NOT_FOUND;
}

int nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned *is_mig_device) {
    LOOK_UP(device, is_mig_device);
    *is_mig_device = (unsigned)is_mig(gpu);
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned *id) {
    LOOK_UP_MIG(device, id);
    *id = gpu->gpu_instance;
    return SUCCESS;
}

int nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned *id) {
    LOOK_UP_MIG(device, id);
    *id = gpu->compute_instance;
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t mig, nvmlDevice_t *device) {
    LOOK_UP_MIG(mig, device);
    Gpu *parent = find_uuid(&machine, gpu->parent);
    return parent ? give_handle(parent, device) : GPU_IS_LOST;
}

/* PyTorch's CUDA side stops with an internal error where NVML lacks these symbols; where they fail
 * it goes on, so that a test on a real GPU can share a process with this library. */
int nvmlDeviceGetComputeRunningProcesses(void) { return NOT_SUPPORTED; }
int nvmlDeviceGetHandleByPciBusId_v2(void) { return NOT_SUPPORTED; }
int nvmlDeviceGetNvLinkRemoteDeviceType(void) { return NOT_SUPPORTED; }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void) { return NOT_SUPPORTED; }
