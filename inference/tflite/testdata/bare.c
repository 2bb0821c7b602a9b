// The same inference as BenchmarkAgainstC's with nothing around it: for each number read, that many runs; the nanoseconds they took are printed.
// usage: bare LIBRARY MODEL
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void *library;

static void *function(const char *name) {
	void *f = dlsym(library, name);
	if (!f) {
		fprintf(stderr, "no %s\n", name);
		exit(1);
	}
	return f;
}

int main(int n, char **arg) {
	if (n != 3 || !(library = dlopen(arg[1], RTLD_NOW))) return 1;
	struct { int32_t word[64]; } options = {{1, 3}};
	void *(*model_of)(const char *) = function("TfLiteModelCreateFromFile");
	void *(*options_of)(void) = function("TfLiteInterpreterOptionsCreate");
	void (*threads)(void *, int32_t) = function("TfLiteInterpreterOptionsSetNumThreads");
	void *(*xnnpack)(void *) = function("TfLiteXNNPackDelegateCreate");
	void (*add)(void *, void *) = function("TfLiteInterpreterOptionsAddDelegate");
	void *(*create)(void *, void *) = function("TfLiteInterpreterCreate");
	int (*allocate)(void *) = function("TfLiteInterpreterAllocateTensors");
	int (*invoke)(void *) = function("TfLiteInterpreterInvoke");
	void *o = options_of();
	threads(o, 1);
	add(o, xnnpack(&options));
	void *model = model_of(arg[2]), *interpreter = model ? create(model, o) : NULL;
	if (!interpreter || allocate(interpreter)) return 1;
	for (long runs; scanf("%ld", &runs) == 1;) {
		struct timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		for (long i = 0; i < runs; i++)
			if (invoke(interpreter)) return 1;
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf("%lld\n", (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec);
		fflush(stdout);
	}
	return 0;
}
