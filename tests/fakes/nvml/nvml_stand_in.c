/*
 * A stand-in for NVIDIA's driver library, with as many GPUs as a test asks for.
 *
 * Built as libnvidia-ml.so.1 and found by way of LD_LIBRARY_PATH, it lets the real Python binding run without a GPU.
 * It is told what to do by the environment, read at the first nvmlInit:
 *
 *   NVML_STAND_IN_GPUS     how many GPUs there are; 1 when absent
 *   NVML_STAND_IN_VALUES   readings, as "name@gpu=number;...", without "@gpu" for all GPUs: see `default_values`
 *   NVML_STAND_IN_FAULTS   "function@gpu#calls=fault;...": from the call after so many on, the function returns the
 *                          fault (a name of `faults`), or first waits ("sleep:MILLISECONDS"). "@gpu" and "#calls" may
 *                          be left out; "*" is every function.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_GPUS 16
#define MAX_FAULTS 64
#define NAME_SIZE 64
#define ANY_GPU (-1)
#define MIB (1024ull * 1024ull)

typedef enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
} Code;

static const struct { const char *name; int code; } faults[] = {
    {"NOT_SUPPORTED", 3}, {"NO_PERMISSION", 4},       {"DRIVER_NOT_LOADED", 9},        {"TIMEOUT", 10},
    {"GPU_IS_LOST", 15},  {"RESET_REQUIRED", 16},     {"LIB_RM_VERSION_MISMATCH", 18}, {"UNKNOWN", 999},
};

typedef struct {
    int index;
    unsigned utilisation_percent, memory_total_mib, memory_used_mib;
    unsigned power_mw, power_limit_mw, temperature_c, sm_clock_mhz;
} Gpu;

static const Gpu default_values = {
    .utilisation_percent = 42,
    .memory_total_mib = 81920,
    .memory_used_mib = 2048,
    .power_mw = 250000,
    .power_limit_mw = 700000,
    .temperature_c = 51,
    .sm_clock_mhz = 1980,
};

typedef struct {
    char function[NAME_SIZE];
    int gpu, calls_before, sleep_ms, code, calls;
} Fault;

static Gpu gpus[MAX_GPUS];
static int gpu_count;
static Fault planned[MAX_FAULTS];
static int planned_count;
static int times_opened;


/* ---- what the environment says ---- */

static unsigned *value_named(Gpu *gpu, const char *name)
{
    if (!strcmp(name, "utilisation_percent")) return &gpu->utilisation_percent;
    if (!strcmp(name, "memory_total_mib")) return &gpu->memory_total_mib;
    if (!strcmp(name, "memory_used_mib")) return &gpu->memory_used_mib;
    if (!strcmp(name, "power_mw")) return &gpu->power_mw;
    if (!strcmp(name, "power_limit_mw")) return &gpu->power_limit_mw;
    if (!strcmp(name, "temperature_c")) return &gpu->temperature_c;
    if (!strcmp(name, "sm_clock_mhz")) return &gpu->sm_clock_mhz;
    fprintf(stderr, "nvml stand-in: no value is called %s\n", name);
    abort();
}

static int code_named(const char *name)
{
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (!strcmp(name, faults[i].name)) return faults[i].code;
    fprintf(stderr, "nvml stand-in: no fault is called %s\n", name);
    abort();
}

/* Cuts `text` at `mark` and returns the number behind it, or `otherwise` where the mark is missing. */
static int cut_number(char *text, char mark, int otherwise)
{
    char *found = strchr(text, mark);
    if (!found) return otherwise;
    *found = '\0';
    return atoi(found + 1);
}

static void set_value(char *left, const char *right)
{
    int gpu = cut_number(left, '@', ANY_GPU);
    for (int i = 0; i < gpu_count; i++)
        if (gpu == ANY_GPU || gpu == i) *value_named(&gpus[i], left) = (unsigned)strtoul(right, NULL, 10);
}

static void plan_fault(char *left, const char *right)
{
    if (planned_count == MAX_FAULTS) abort();
    Fault *fault = &planned[planned_count++];
    *fault = (Fault){0};
    fault->calls_before = cut_number(left, '#', 0);
    fault->gpu = cut_number(left, '@', ANY_GPU);
    snprintf(fault->function, sizeof fault->function, "%s", left);
    if (!strncmp(right, "sleep:", 6)) fault->sleep_ms = atoi(right + 6);
    else fault->code = code_named(right);
}

static void read_settings(const char *variable, void (*take)(char *left, const char *right))
{
    const char *text = getenv(variable);
    if (!text) return;
    char *copy = strdup(text), *rest = copy, *setting;
    while ((setting = strsep(&rest, ";"))) {
        char *equals = strchr(setting, '=');
        if (!equals) continue;
        *equals = '\0';
        take(setting, equals + 1);
    }
    free(copy);
}

static void read_environment(void)
{
    const char *count = getenv("NVML_STAND_IN_GPUS");
    gpu_count = count ? atoi(count) : 1;
    if (gpu_count > MAX_GPUS) gpu_count = MAX_GPUS;
    for (int i = 0; i < gpu_count; i++) {
        gpus[i] = default_values;
        gpus[i].index = i;
    }
    planned_count = 0;
    read_settings("NVML_STAND_IN_VALUES", set_value);
    read_settings("NVML_STAND_IN_FAULTS", plan_fault);
}


/* ---- how every call begins ---- */

static void sleep_ms(int milliseconds)
{
    struct timespec left = {milliseconds / 1000, (milliseconds % 1000) * 1000000L};
    while (nanosleep(&left, &left)) {}
}

static int fault_of(const char *function, const Gpu *gpu)
{
    for (int i = 0; i < planned_count; i++) {
        Fault *fault = &planned[i];
        if (strcmp(fault->function, "*") && strcmp(fault->function, function)) continue;
        if (fault->gpu != ANY_GPU && (!gpu || gpu->index != fault->gpu)) continue;
        if (fault->calls++ < fault->calls_before) continue;
        if (fault->sleep_ms) sleep_ms(fault->sleep_ms);
        if (fault->code) return fault->code;
    }
    return NVML_SUCCESS;
}

#define BEGIN(gpu)                                              \
    do {                                                        \
        if (times_opened == 0) return NVML_ERROR_UNINITIALIZED; \
        int code = fault_of(__func__, gpu);                     \
        if (code != NVML_SUCCESS) return code;                  \
    } while (0)


/* ---- the library ---- */

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    if (times_opened == 0) read_environment();
    int code = fault_of(__func__, NULL);
    if (code == NVML_SUCCESS) times_opened++;
    return code;
}

int nvmlShutdown(void)
{
    BEGIN(NULL);
    times_opened--;
    return NVML_SUCCESS;
}

const char *nvmlErrorString(int code)
{
    (void)code;
    return "an error of the stand-in";
}

int nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    BEGIN(NULL);
    snprintf(version, size, "999.10.01");
    return NVML_SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    BEGIN(NULL);
    *count = (unsigned)gpu_count;
    return NVML_SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **gpu)
{
    if (index >= (unsigned)gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    BEGIN(&gpus[index]);
    *gpu = &gpus[index];
    return NVML_SUCCESS;
}


/* ---- one GPU ---- */

int nvmlDeviceGetName(const Gpu *gpu, char *name, unsigned size)
{
    BEGIN(gpu);
    snprintf(name, size, "Stand-in GPU");
    return NVML_SUCCESS;
}

int nvmlDeviceGetUUID(const Gpu *gpu, char *uuid, unsigned size)
{
    BEGIN(gpu);
    snprintf(uuid, size, "GPU-00000000-0000-0000-0000-%012d", gpu->index);
    return NVML_SUCCESS;
}

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;

int nvmlDeviceGetMemoryInfo_v2(const Gpu *gpu, MemoryV2 *memory)
{
    BEGIN(gpu);
    if (memory->version != (sizeof(MemoryV2) | 2u << 24)) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    memory->total = gpu->memory_total_mib * MIB;
    memory->used = gpu->memory_used_mib * MIB;
    memory->reserved = 512 * MIB;
    memory->free = memory->total - memory->used - memory->reserved;
    return NVML_SUCCESS;
}

typedef struct { unsigned gpu, memory; } Utilisation;

int nvmlDeviceGetUtilizationRates(const Gpu *gpu, Utilisation *utilisation)
{
    BEGIN(gpu);
    *utilisation = (Utilisation){gpu->utilisation_percent, gpu->utilisation_percent / 2};
    return NVML_SUCCESS;
}

int nvmlDeviceGetPowerUsage(const Gpu *gpu, unsigned *milliwatts)
{
    BEGIN(gpu);
    *milliwatts = gpu->power_mw;
    return NVML_SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(const Gpu *gpu, unsigned *milliwatts)
{
    BEGIN(gpu);
    *milliwatts = gpu->power_limit_mw;
    return NVML_SUCCESS;
}

int nvmlDeviceGetTemperature(const Gpu *gpu, int sensor, unsigned *celsius)
{
    BEGIN(gpu);
    if (sensor != 0) return NVML_ERROR_INVALID_ARGUMENT;
    *celsius = gpu->temperature_c;
    return NVML_SUCCESS;
}

int nvmlDeviceGetClockInfo(const Gpu *gpu, int clock, unsigned *mhz)
{
    enum { SM_CLOCK = 1 };
    BEGIN(gpu);
    if (clock != SM_CLOCK) return NVML_ERROR_INVALID_ARGUMENT;
    *mhz = gpu->sm_clock_mhz;
    return NVML_SUCCESS;
}
