// What the bare C loops have in common: what an inference costs without Go. A program opens library and model, and ends with run.
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

// open_library opens what the first argument names; a model's file is the second.
static void open_library(int argc, char **argv) {
  if (argc == 3 && (library = dlopen(argv[1], RTLD_NOW))) return;
  fprintf(stderr, "usage: bareloop LIBRARY MODEL\n");
  exit(2);
}

// run infers 100 times for each line on the standard input and prints the median in nanoseconds.
static int run(int (*infer)(void *), void *model) {
  char line[16];
  while (fgets(line, sizeof line, stdin)) {
    double took[RUNS];
    for (int i = 0; i < RUNS; i++) {
      double start = now();
      must(infer(model), "infer");
      took[i] = now() - start;
    }
    qsort(took, RUNS, sizeof *took, compare);
    printf("%.0f\n", took[RUNS / 2]);
    fflush(stdout);
  }
  return 0;
}
