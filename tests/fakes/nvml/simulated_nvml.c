/*
 * A simulation of NVIDIA's driver library, with the number of GPUs that a test sets.
 *
 * Built as libnvidia-ml.so.1 and found by way of LD_LIBRARY_PATH, it lets the real Python binding run without a GPU.
 * It is configured by the environment, read at the first nvmlInit:
 *
 *   NVML_STAND_IN_GPUS        how many GPUs there are; 1 when absent
 *   NVML_STAND_IN_GPUS_FILE   a file with that number, read again whenever GPUs are counted: they come and go. A second
 *                             number is how many of the first ones are gone, which moves the others' indices
 *   NVML_STAND_IN_VALUES      readings, as "name@gpu=number;...", without "@gpu" for all GPUs: see `default_values`.
 *                             Counters (energy, PCIe) begin at 0 and grow by power and traffic from the first opening
 *   NVML_STAND_IN_PROCESSES   "pid@gpu=MiB;...": who computes; "self" is this process, and MiB "?" is not reported
 *   NVML_STAND_IN_FAULTS      "function@gpu#calls=fault;...": from the call after so many on, the function returns the
 *                             fault (a name of `faults`), or first waits ("sleep:MILLISECONDS"). "@gpu" and "#calls"
 *                             may be left out; "*" is every function, "field186" is one of the field values.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_GPUS 16
#define MAX_FAULTS 64
#define MAX_PROCESSES 16
#define MAX_MIG 8
#define NAME_SIZE 64
#define ANY_GPU (-1)
#define MIB (1024ull * 1024ull)

typedef enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
} Code;

static const struct { const char *name; int code; } faults[] = {
    {"NOT_SUPPORTED", 3},  {"NO_PERMISSION", 4},            {"DRIVER_NOT_LOADED", 9}, {"TIMEOUT", 10},
    {"GPU_IS_LOST", 15},   {"FUNCTION_NOT_FOUND", 13},      {"RESET_REQUIRED", 16},   {"LIB_RM_VERSION_MISMATCH", 18},
    {"UNKNOWN", 999},
};

/* A GPU, or a MIG instance of one: an instance has a parent, and answers little more than its memory. */
typedef struct Gpu {
    int index;
    const struct Gpu *parent;
    unsigned utilisation_percent, memory_total_mib, memory_used_mib;
    unsigned power_mw, power_average_mw, power_limit_mw, temperature_c, memory_temperature_c;
    unsigned sm_clock_mhz, memory_clock_mhz, throttle_reasons, pcie_tx_kb_per_s, pcie_rx_kb_per_s, pcie_start_bytes;
    unsigned ecc_corrected, ecc_uncorrected, fan_percent, encoder_percent, decoder_percent;
    unsigned mig_instances, mig_memory_used_mib;
} Gpu;

static const Gpu default_values = {
    .utilisation_percent = 42,
    .memory_total_mib = 81920,
    .memory_used_mib = 2048,
    .power_mw = 250000,
    .power_average_mw = 240000,
    .power_limit_mw = 700000,
    .temperature_c = 51,
    .memory_temperature_c = 63,
    .sm_clock_mhz = 1980,
    .memory_clock_mhz = 2619,
    .pcie_tx_kb_per_s = 300000,
    .pcie_rx_kb_per_s = 700000,
    .ecc_corrected = 3,
    .fan_percent = 30,
    .encoder_percent = 11,
    .decoder_percent = 22,
    .mig_memory_used_mib = 512,
};

typedef struct {
    char function[NAME_SIZE];
    int gpu, calls_before, sleep_ms, code, calls;
} Fault;

typedef struct { unsigned pid, gpu_instance, compute_instance; int gpu; unsigned long long used_bytes; } Process;

static Gpu gpus[MAX_GPUS], migs[MAX_GPUS][MAX_MIG];
static int gpu_count, gone_count;
static Process processes[MAX_PROCESSES];
static int process_count;
static struct timespec opened_at;
static Fault planned[MAX_FAULTS];
static int planned_count;
static int times_opened;


/* ---- what the environment says ---- */

static const struct { const char *name; size_t offset; } values[] = {
#define VALUE(name) {#name, offsetof(Gpu, name)}
    VALUE(utilisation_percent), VALUE(memory_total_mib), VALUE(memory_used_mib),      VALUE(power_mw),
    VALUE(power_average_mw),    VALUE(power_limit_mw),   VALUE(temperature_c),        VALUE(memory_temperature_c),
    VALUE(sm_clock_mhz),        VALUE(memory_clock_mhz), VALUE(throttle_reasons),     VALUE(pcie_tx_kb_per_s),
    VALUE(pcie_rx_kb_per_s),    VALUE(pcie_start_bytes), VALUE(ecc_corrected),        VALUE(ecc_uncorrected),
    VALUE(fan_percent),         VALUE(encoder_percent),  VALUE(decoder_percent),      VALUE(mig_instances),
    VALUE(mig_memory_used_mib),
};

static unsigned *value_named(Gpu *gpu, const char *name)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (!strcmp(name, values[i].name)) return (unsigned *)((char *)gpu + values[i].offset);
    fprintf(stderr, "simulated NVML: no value is called %s\n", name);
    abort();
}

static int code_named(const char *name)
{
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (!strcmp(name, faults[i].name)) return faults[i].code;
    fprintf(stderr, "simulated NVML: no fault is called %s\n", name);
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
    for (int i = 0; i < MAX_GPUS; i++)
        if (gpu == ANY_GPU || gpu == i) *value_named(&gpus[i], left) = (unsigned)strtoul(right, NULL, 10);
}

static void add_process(char *left, const char *right)
{
    if (process_count == MAX_PROCESSES) abort();
    Process *process = &processes[process_count++];
    process->gpu = cut_number(left, '@', ANY_GPU);
    process->pid = strcmp(left, "self") ? (unsigned)strtoul(left, NULL, 10) : (unsigned)getpid();
    process->gpu_instance = process->compute_instance = ~0u;
    process->used_bytes = strcmp(right, "?") ? strtoull(right, NULL, 10) * MIB : ~0ull;
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

static int counted(void)
{
    const char *count = getenv("NVML_STAND_IN_GPUS"), *path = getenv("NVML_STAND_IN_GPUS_FILE");
    int number = count ? atoi(count) : 1;
    FILE *file = path ? fopen(path, "r") : NULL;
    if (file) {
        gone_count = 0;
        if (fscanf(file, "%d %d", &number, &gone_count) < 1) abort();
        fclose(file);
    }
    return number + gone_count > MAX_GPUS ? MAX_GPUS - gone_count : number;
}

static void read_environment(void)
{
    gpu_count = counted();
    for (int i = 0; i < MAX_GPUS; i++) {
        gpus[i] = default_values;
        gpus[i].index = i;
    }
    planned_count = process_count = 0;
    read_settings("NVML_STAND_IN_VALUES", set_value);
    read_settings("NVML_STAND_IN_PROCESSES", add_process);
    read_settings("NVML_STAND_IN_FAULTS", plan_fault);
    for (int i = 0; i < MAX_GPUS; i++)
        for (int j = 0; j < MAX_MIG; j++)
            migs[i][j] = (Gpu){.index = i, .parent = &gpus[i], .memory_total_mib = gpus[i].memory_total_mib / 8,
                               .memory_used_mib = gpus[i].mig_memory_used_mib};
    clock_gettime(CLOCK_MONOTONIC, &opened_at);
}


/* ---- how every call begins ---- */

static void sleep_ms(int milliseconds)
{
    struct timespec left = {milliseconds / 1000, (milliseconds % 1000) * 1000000L};
    while (nanosleep(&left, &left)) {}
}

static double seconds_open(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - opened_at.tv_sec) + (double)(now.tv_nsec - opened_at.tv_nsec) / 1e9;
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

#define BEGIN_WHOLE(gpu)                                  \
    do {                                                  \
        BEGIN(gpu);                                       \
        if ((gpu)->parent) return NVML_ERROR_NOT_SUPPORTED; \
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
    return "an error of the simulated driver";
}

int nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    BEGIN(NULL);
    snprintf(version, size, "999.10.01");
    return NVML_SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    BEGIN(NULL);
    *version = 13010;
    return NVML_SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    BEGIN(NULL);
    gpu_count = counted();
    *count = (unsigned)gpu_count;
    return NVML_SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **gpu)
{
    if (index >= (unsigned)gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    BEGIN(&gpus[index + gone_count]);
    *gpu = &gpus[index + gone_count];
    return NVML_SUCCESS;
}


/* ---- one GPU ---- */

int nvmlDeviceGetName(const Gpu *gpu, char *name, unsigned size)
{
    BEGIN(gpu);
    snprintf(name, size, gpu->parent ? "Stand-in GPU MIG 1g.10gb" : "Stand-in GPU");
    return NVML_SUCCESS;
}

int nvmlDeviceGetUUID(const Gpu *gpu, char *uuid, unsigned size)
{
    BEGIN(gpu);
    int mig = gpu->parent ? (int)(gpu - migs[gpu->index]) : 0;
    if (gpu->parent) snprintf(uuid, size, "MIG-00000000-0000-0000-%04d-%012d", gpu->index, mig);
    else snprintf(uuid, size, "GPU-00000000-0000-0000-0000-%012d", gpu->index);
    return NVML_SUCCESS;
}

int nvmlDeviceGetVbiosVersion(const Gpu *gpu, char *version, unsigned size)
{
    BEGIN_WHOLE(gpu);
    snprintf(version, size, "96.00.74.00.01");
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

typedef struct { unsigned long long total, free, used; } MemoryV1;

/* The older call counts what the driver keeps for itself as used. */
int nvmlDeviceGetMemoryInfo(const Gpu *gpu, MemoryV1 *memory)
{
    BEGIN(gpu);
    memory->total = gpu->memory_total_mib * MIB;
    memory->used = (gpu->memory_used_mib + 512) * MIB;
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

typedef struct { unsigned gpu, memory; } Utilisation;

int nvmlDeviceGetUtilizationRates(const Gpu *gpu, Utilisation *utilisation)
{
    BEGIN_WHOLE(gpu);
    if (gpu->mig_instances) return NVML_ERROR_NOT_SUPPORTED;
    *utilisation = (Utilisation){gpu->utilisation_percent, gpu->utilisation_percent / 2};
    return NVML_SUCCESS;
}

int nvmlDeviceGetPowerUsage(const Gpu *gpu, unsigned *milliwatts)
{
    BEGIN_WHOLE(gpu);
    *milliwatts = gpu->power_average_mw;
    return NVML_SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(const Gpu *gpu, unsigned *milliwatts)
{
    BEGIN_WHOLE(gpu);
    *milliwatts = gpu->power_limit_mw;
    return NVML_SUCCESS;
}

int nvmlDeviceGetPowerManagementDefaultLimit(const Gpu *gpu, unsigned *milliwatts)
{
    BEGIN_WHOLE(gpu);
    *milliwatts = 700000;
    return NVML_SUCCESS;
}

int nvmlDeviceGetPowerManagementLimitConstraints(const Gpu *gpu, unsigned *lowest_mw, unsigned *highest_mw)
{
    BEGIN_WHOLE(gpu);
    *lowest_mw = 200000;
    *highest_mw = 750000;
    return NVML_SUCCESS;
}

int nvmlDeviceGetTemperature(const Gpu *gpu, int sensor, unsigned *celsius)
{
    BEGIN_WHOLE(gpu);
    if (sensor != 0) return NVML_ERROR_INVALID_ARGUMENT;
    *celsius = gpu->temperature_c;
    return NVML_SUCCESS;
}

typedef struct { unsigned version; int sensor, celsius; } TemperatureV1;

int nvmlDeviceGetTemperatureV(const Gpu *gpu, TemperatureV1 *temperature)
{
    BEGIN_WHOLE(gpu);
    if (temperature->version != (sizeof(TemperatureV1) | 1u << 24)) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (temperature->sensor != 0) return NVML_ERROR_INVALID_ARGUMENT;
    temperature->celsius = (int)gpu->temperature_c;
    return NVML_SUCCESS;
}

enum { SM_CLOCK = 1, MEMORY_CLOCK = 2 };

int nvmlDeviceGetClockInfo(const Gpu *gpu, int clock, unsigned *mhz)
{
    BEGIN_WHOLE(gpu);
    if (clock != SM_CLOCK && clock != MEMORY_CLOCK) return NVML_ERROR_INVALID_ARGUMENT;
    *mhz = clock == SM_CLOCK ? gpu->sm_clock_mhz : gpu->memory_clock_mhz;
    return NVML_SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(const Gpu *gpu, int clock, unsigned *mhz)
{
    BEGIN_WHOLE(gpu);
    *mhz = clock == SM_CLOCK ? 1980 : 2619;
    return NVML_SUCCESS;
}

int nvmlDeviceGetCurrPcieLinkGeneration(const Gpu *gpu, unsigned *generation)
{
    BEGIN_WHOLE(gpu);
    *generation = 1;
    return NVML_SUCCESS;
}

int nvmlDeviceGetMaxPcieLinkGeneration(const Gpu *gpu, unsigned *generation)
{
    BEGIN_WHOLE(gpu);
    *generation = 5;
    return NVML_SUCCESS;
}

int nvmlDeviceGetCurrPcieLinkWidth(const Gpu *gpu, unsigned *width)
{
    BEGIN_WHOLE(gpu);
    *width = 8;
    return NVML_SUCCESS;
}

int nvmlDeviceGetMaxPcieLinkWidth(const Gpu *gpu, unsigned *width)
{
    BEGIN_WHOLE(gpu);
    *width = 16;
    return NVML_SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(const Gpu *gpu, unsigned long long *reasons)
{
    BEGIN_WHOLE(gpu);
    *reasons = gpu->throttle_reasons;
    return NVML_SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(const Gpu *gpu, unsigned long long *reasons)
{
    BEGIN_WHOLE(gpu);
    *reasons = gpu->throttle_reasons;
    return NVML_SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(const Gpu *gpu, int error, int counter, unsigned long long *count)
{
    enum { CORRECTED = 0, UNCORRECTED = 1 };
    BEGIN_WHOLE(gpu);
    if (counter != 0 || (error != CORRECTED && error != UNCORRECTED)) return NVML_ERROR_INVALID_ARGUMENT;
    *count = error == CORRECTED ? gpu->ecc_corrected : gpu->ecc_uncorrected;
    return NVML_SUCCESS;
}

int nvmlDeviceGetFanSpeed(const Gpu *gpu, unsigned *percent)
{
    BEGIN_WHOLE(gpu);
    *percent = gpu->fan_percent;
    return NVML_SUCCESS;
}

int nvmlDeviceGetEncoderUtilization(const Gpu *gpu, unsigned *percent, unsigned *period_us)
{
    BEGIN_WHOLE(gpu);
    *percent = gpu->encoder_percent;
    *period_us = 167000;
    return NVML_SUCCESS;
}

int nvmlDeviceGetDecoderUtilization(const Gpu *gpu, unsigned *percent, unsigned *period_us)
{
    BEGIN_WHOLE(gpu);
    *percent = gpu->decoder_percent;
    *period_us = 167000;
    return NVML_SUCCESS;
}

typedef struct { unsigned pid; unsigned long long used_bytes; unsigned gpu_instance, compute_instance; } ProcessInfo;

int nvmlDeviceGetComputeRunningProcesses_v3(const Gpu *gpu, unsigned *count, ProcessInfo *infos)
{
    BEGIN(gpu);
    unsigned room = infos ? *count : 0, found = 0;
    for (int i = 0; i < process_count; i++) {
        const Process *one = &processes[i];
        if (one->gpu != ANY_GPU && one->gpu != gpu->index) continue;
        if (found < room)
            infos[found] = (ProcessInfo){one->pid, one->used_bytes, one->gpu_instance, one->compute_instance};
        found++;
    }
    *count = found;
    return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(const Gpu *gpu, unsigned *count)
{
    BEGIN_WHOLE(gpu);
    *count = gpu->mig_instances ? MAX_MIG : 0;
    return NVML_SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(const Gpu *gpu, unsigned index, const Gpu **mig)
{
    BEGIN_WHOLE(gpu);
    if (index >= gpu->mig_instances) return NVML_ERROR_NOT_FOUND;
    *mig = &migs[gpu->index][index];
    return NVML_SUCCESS;
}


/* ---- field values ---- */

typedef struct {
    uint32_t field, scope;
    int64_t timestamp_us, latency_us;
    int type, code;
    union { double real; unsigned number; unsigned long long counter; } value;
} FieldValue;

enum { UNSIGNED = 1, UNSIGNED_LONG_LONG = 3 };

static int number(FieldValue *field, unsigned value)
{
    field->type = UNSIGNED;
    field->value.number = value;
    return NVML_SUCCESS;
}

static int counter(FieldValue *field, double value)
{
    field->type = UNSIGNED_LONG_LONG;
    field->value.counter = (unsigned long long)value;
    return NVML_SUCCESS;
}

static double bytes_since_start(const Gpu *gpu, unsigned kb_per_s)
{
    return gpu->pcie_start_bytes + 1e3 * kb_per_s * seconds_open();
}

static int field_of(const Gpu *gpu, FieldValue *field)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "field%u", field->field);
    int code = fault_of(name, gpu);
    if (code != NVML_SUCCESS) return code;
    switch (field->field) {
    case 82: return number(field, gpu->memory_temperature_c);
    case 83: return counter(field, gpu->power_mw * seconds_open());
    case 185: return number(field, gpu->power_average_mw);
    case 186: return number(field, gpu->power_mw);
    case 197: return number(field, (unsigned)(uint64_t)bytes_since_start(gpu, gpu->pcie_tx_kb_per_s));
    case 198: return counter(field, bytes_since_start(gpu, gpu->pcie_rx_kb_per_s));
    default: return NVML_ERROR_NOT_SUPPORTED;
    }
}

/* Sent is a counter of 32 bits, received one of 64: a driver may have either. */
int nvmlDeviceGetFieldValues(const Gpu *gpu, int count, FieldValue *fields)
{
    BEGIN_WHOLE(gpu);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < count; i++) {
        fields[i].timestamp_us = now.tv_sec * 1000000ll + now.tv_nsec / 1000;
        fields[i].latency_us = 5;
        fields[i].code = field_of(gpu, &fields[i]);
    }
    return NVML_SUCCESS;
}
