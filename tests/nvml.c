/* Stands in for NVIDIA's library: GPUs as the file that STAND_IN_GPUS names has them, a line each:
   name, millijoules, milliwatts. It is read anew by every count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16
static char names[MOST][80];
static unsigned long long energy[MOST];
static unsigned int power[MOST], count;

int nvmlInit_v2(void) { return getenv("STAND_IN_GPUS") ? 0 : 9; }

int nvmlDeviceGetCount_v2(unsigned int *found) {
    FILE *file = fopen(getenv("STAND_IN_GPUS"), "r");
    if (!file) return 999;
    for (count = 0; count < MOST; count++)
        if (fscanf(file, "%79s %llu %u", names[count], &energy[count], &power[count]) != 3) break;
    fclose(file);
    *found = count;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index >= count) return 2;
    *device = (void *)(unsigned long)(index + 1);
    return 0;
}

static unsigned long place(void *device) { return (unsigned long)device - 1; }

int nvmlDeviceGetUUID(void *device, char *text, unsigned int length) {
    strncpy(text, names[place(device)], length);
    return 0;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    if (!strncmp(names[place(device)], "old", 3)) return 3; /* not supported */
    *millijoules = energy[place(device)];
    return 0;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {
    *milliwatts = power[place(device)];
    return 0;
}
