// What an inference costs without Go: opens a model with TensorFlow Lite's C API and, for each line on its standard input, infers 100 times
// and prints the median in nanoseconds.
//
//   gcc -O2 -o bareloop bareloop.c -ldl && bareloop LIBRARY MODEL
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RUNS = 100 };

static void *library;

static void *function(const char *name) {
	void *f = dlsym(library, name);
	if (!f) {
		fprintf(stderr, "no %s\n", name);
		exit(1);
	}
	return f;
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
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
	char line[16];
	while (fgets(line, sizeof line, stdin)) {
		double took[RUNS];
		for (int i = 0; i < RUNS; i++) {
			double start = now();
			if (invoke(interpreter)) return 1;
			took[i] = now() - start;
		}
		qsort(took, RUNS, sizeof *took, compare);
		printf("%.0f\n", took[RUNS / 2]);
		fflush(stdout);
	}
	return 0;
}
