/* A stand-in for libnvidia-ml.so.1: what it tells stands in the file that NVML_STAND_IN names.
 *
 * One line for each GPU: <uuid> <name> <major> <minor> <total> <free> <utilisation> <pid> <bytes of pid>
 * A total of 0 is a GPU that is lost; a file that is missing is a driver that does not work. It is read anew at
 * each call, so that another process can change what there is. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, LOST = 15 };

typedef struct { char uuid[96], name[96]; int major, minor; unsigned long long total, free; unsigned utilisation, pid; unsigned long long pid_bytes; } gpu_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned gpu, memory; } utilisation_t;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process_t;

static int read_gpu(unsigned wanted, gpu_t *gpu, unsigned *count) {
  const char *path = getenv("NVML_STAND_IN");
  FILE *file = path ? fopen(path, "r") : NULL;
  char line[512];
  unsigned at = 0;
  if (!file) return DRIVER_NOT_LOADED;
  while (fgets(line, sizeof line, file)) {
    gpu_t each;
    memset(&each, 0, sizeof each);
    if (sscanf(line, "%95s %95s %d %d %llu %llu %u %u %llu", each.uuid, each.name, &each.major, &each.minor,
               &each.total, &each.free, &each.utilisation, &each.pid, &each.pid_bytes) < 7) continue;
    if (gpu && at == wanted) *gpu = each;
    at++;
  }
  fclose(file);
  if (count) *count = at;
  return gpu && wanted >= at ? NOT_FOUND : OK;
}

static int of(void *handle, gpu_t *gpu) {
  int code = read_gpu((unsigned)((size_t)handle - 1), gpu, NULL);
  return code ? code : gpu->total ? OK : LOST;
}

static int text(const char *from, char *to, unsigned size) {
  if (strlen(from) + 1 > size) return INSUFFICIENT_SIZE;
  strcpy(to, from);
  return OK;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return read_gpu(0, NULL, NULL); }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == LOST ? "GPU is lost" : code == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "error"; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { return text("580.0.stand-in", to, size); }
int nvmlDeviceGetCount_v2(unsigned *count) { return read_gpu(0, NULL, count); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  gpu_t gpu;
  int code = read_gpu(index, &gpu, NULL);
  *handle = (void *)((size_t)index + 1);
  return code ? code : gpu.total ? OK : LOST;
}

int nvmlDeviceGetUUID(void *handle, char *to, unsigned size) {
  gpu_t gpu;
  int code = of(handle, &gpu);
  return code ? code : text(gpu.uuid, to, size);
}

int nvmlDeviceGetName(void *handle, char *to, unsigned size) {
  gpu_t gpu;
  int code = of(handle, &gpu);
  return code ? code : text(gpu.name, to, size);
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
  gpu_t gpu;
  int code = of(handle, &gpu);
  *major = gpu.major;
  *minor = gpu.minor;
  return code;
}

int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
  gpu_t gpu;
  int code = of(handle, &gpu);
  if (!code) *memory = (memory_t){gpu.total, gpu.free, gpu.total - gpu.free};
  return code;
}

int nvmlDeviceGetUtilizationRates(void *handle, utilisation_t *rates) {
  gpu_t gpu;
  int code = of(handle, &gpu);
  if (!code) *rates = (utilisation_t){gpu.utilisation, 0};
  return code;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *processes) {
  gpu_t gpu;
  int code = of(handle, &gpu);
  unsigned room = *count;
  if (code) return code;
  *count = gpu.pid ? 1 : 0;
  if (room < *count) return INSUFFICIENT_SIZE;
  if (gpu.pid) *processes = (process_t){gpu.pid, gpu.pid_bytes, 0xFFFFFFFF, 0xFFFFFFFF};
  return OK;
}
