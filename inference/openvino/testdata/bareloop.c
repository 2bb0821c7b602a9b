// What an inference costs without Go: opens a model with OpenVINO's C API and, for each line on its standard input, infers 100 times
// and prints the median in nanoseconds.
//
//   gcc -O2 -o bareloop bareloop.c -ldl && bareloop libopenvino_c.so MODEL
#include <dlfcn.h>
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

static void must(int status, const char *step) {
  if (!status) return;
  fprintf(stderr, "%s: status %d\n", step, status);
  exit(1);
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

int main(int argc, char **argv) {
  if (argc != 3 || !(library = dlopen(argv[1], RTLD_NOW))) {
    fprintf(stderr, "usage: bareloop libopenvino_c.so MODEL\n");
    return 2;
  }
  void *core, *model, *compiled, *request;
  must(((int (*)(void **))function("ov_core_create"))(&core), "core");
  must(((int (*)(void *, const char *, const char *, void **))function("ov_core_read_model"))(core, argv[2], NULL, &model), "read");
  must(((int (*)(void *, void *, const char *, size_t, void **, ...))function("ov_core_compile_model"))(
           core, model, "CPU", 10, &compiled, "PERFORMANCE_HINT", "LATENCY", "NUM_STREAMS", "1", "INFERENCE_PRECISION_HINT", "f32", "INFERENCE_NUM_THREADS",
           "1", "ENABLE_CPU_PINNING", "NO"),
       "compile");
  must(((int (*)(void *, void **))function("ov_compiled_model_create_infer_request"))(compiled, &request), "request");
  int (*infer)(void *) = (int (*)(void *))function("ov_infer_request_infer");
  char line[16];
  while (fgets(line, sizeof line, stdin)) {
    double took[RUNS];
    for (int i = 0; i < RUNS; i++) {
      double start = now();
      must(infer(request), "infer");
      took[i] = now() - start;
    }
    qsort(took, RUNS, sizeof *took, compare);
    printf("%.0f\n", took[RUNS / 2]);
    fflush(stdout);
  }
  return 0;
}
