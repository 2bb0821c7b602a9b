// A double of libopenvino_c.so of OpenVINO 2022.3.1 with a Neural Compute Stick (MYRIAD), for tests of what sticks do.
//
//   gcc -shared -fPIC -O1 -o libopenvino_c.so double.c -ldl
//
// The file "behaviour" beside the library says, at each call, what the stick does: ok (also without the file), absent (unplugged:
// not listed, does not compile, fails while it infers), busy, hang (while it infers), hang-load, abort, nan, wrong (an answer, but not
// the model's), slow N (milliseconds). It reads IR files as Heron's tests write them: a Parameter's shape and element_type, a Result's
// name less "_out" and its dims; it has the element types' numbers of 2022. Its answer is a sum over the input, weighted and normalised.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct { const char *build, *description; } version_t;
typedef struct { char **names; size_t size; } devices_t;
typedef struct { int64_t min, max; } dimension_t;
typedef struct { dimension_t rank; dimension_t *dims; } partial_t;

enum { PORTS = 16, RANK = 8 };
typedef struct { char name[64]; int type, rank; int64_t dims[RANK]; size_t n, bytes; } port_t;
typedef struct { port_t in[PORTS], out[PORTS]; size_t ins, outs; } model_t;
typedef struct { model_t m; void *in, *out; int cancelled; } request_t;
typedef struct { port_t *p; void *data; } tensor_t;

static _Thread_local char message[256];

static int fail(const char *text) {
  snprintf(message, sizeof message, "%s", text);
  return -1;
}

// behaves says whether the stick behaves so, and the number behind the word.
static int behaves(const char *word, int *number) {
  Dl_info me;
  char path[4096], line[64] = "ok";
  dladdr((void *)behaves, &me);
  snprintf(path, sizeof path, "%s", me.dli_fname);
  char *slash = strrchr(path, '/');
  strcpy(slash ? slash + 1 : path, "behaviour");
  FILE *f = fopen(path, "r");
  if (f) {
    if (!fgets(line, sizeof line, f)) strcpy(line, "ok");
    fclose(f);
  }
  char got[32] = "";
  int n = 0;
  sscanf(line, "%31s %d", got, &n);
  if (number) *number = n;
  return strcmp(got, word) == 0;
}

static void sleep_ms(int ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
  nanosleep(&t, NULL);
}

static void hang(void) {
  for (;;) pause();
}

int ov_get_openvino_version(version_t *v) {
  v->build = "2022.3.1-9227-double";
  v->description = "a double";
  return 0;
}
const char *ov_get_error_info(int status) { return status ? "general error" : "ok"; }
const char *ov_get_last_err_msg(void) { return strdup(message); }
void ov_free(const char *p) { free((void *)p); }
int ov_core_create(void **core) {
  *core = "core";
  return 0;
}
int ov_core_get_available_devices(void *core, devices_t *d) {
  int there = !behaves("absent", NULL);
  d->names = calloc(2, sizeof *d->names);
  d->names[0] = "CPU";
  d->names[1] = "MYRIAD.1.2-ma2480";
  d->size = there ? 2 : 1;
  return 0;
}
void ov_available_devices_free(devices_t *d) { free(d->names); }
int ov_core_get_property(void *core, const char *device, const char *key, char **value) {
  if (behaves("absent", NULL)) return fail("Can not init Myriad device: NC_ERROR");
  *value = strdup("");
  return 0;
}

static int type_of(const char *s) {
  static const struct { const char *name; int number; size_t size; } types[] = {
      {"boolean", 2, 1}, {"f16", 4, 2}, {"f32", 5, 4}, {"f64", 6, 8}, {"i8", 8, 1}, {"i32", 10, 4}, {"i64", 11, 8}, {"u8", 14, 1}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (strncmp(s, types[i].name, strlen(types[i].name)) == 0) return types[i].number * 16 + (int)types[i].size;
  return 0;
}

static void finish(port_t *p, int type) {
  p->type = type / 16;
  p->n = 1;
  for (int i = 0; i < p->rank; i++) p->n *= (size_t)p->dims[i];
  p->bytes = p->n * (size_t)(type % 16);
}

static void quoted(const char *from, const char *key, char *to, size_t n) {
  const char *a = strstr(from, key);
  to[0] = 0;
  if (!a) return;
  a += strlen(key);
  for (size_t i = 0; i + 1 < n && a[i] && a[i] != '"'; i++) to[i] = a[i], to[i + 1] = 0;
}

static void layer(model_t *m, const char *from, const char *end) {
  char text[4096], word[128];
  snprintf(text, sizeof text, "%.*s", (int)(end - from), from);
  int in = strstr(text, "type=\"Parameter\"") != NULL;
  if (!in && !strstr(text, "type=\"Result\"")) return;
  size_t *count = in ? &m->ins : &m->outs;
  if (*count == PORTS) return;
  port_t *p = (in ? m->in : m->out) + (*count)++;
  quoted(text, " name=\"", p->name, sizeof p->name);
  if (in) {
    quoted(text, "shape=\"", word, sizeof word);
    for (char *s = strtok(word, ","); s && p->rank < RANK; s = strtok(NULL, ",")) p->dims[p->rank++] = atoll(s);
    quoted(text, "element_type=\"", word, sizeof word);
    finish(p, type_of(word));
    return;
  }
  char *suffix = strstr(p->name, "_out");
  if (suffix) *suffix = 0;
  for (char *s = text; (s = strstr(s, "<dim>")) && p->rank < RANK; s++) p->dims[p->rank++] = atoll(s + 5);
  finish(p, type_of("f32"));
}

int ov_core_read_model(void *core, const char *path, const char *weights, void **out) {
  static const size_t most = 1 << 20;
  FILE *f = fopen(path, "r");
  if (!f) return fail("Could not open the file");
  char *text = calloc(1, most + 1);
  size_t n = fread(text, 1, most, f);
  fclose(f);
  if (!n || !strstr(text, "<net")) {
    free(text);
    return fail("Unable to read the model");
  }
  model_t *m = calloc(1, sizeof *m);
  for (char *s = text; (s = strstr(s, "<layer ")); s++) {
    char *end = strstr(s, "</layer>");
    if (end) layer(m, s, end);
  }
  free(text);
  *out = m;
  return 0;
}
void ov_model_free(void *m) { free(m); }
int ov_model_inputs_size(void *m, size_t *n) { return *n = ((model_t *)m)->ins, 0; }
int ov_model_outputs_size(void *m, size_t *n) { return *n = ((model_t *)m)->outs, 0; }
int ov_model_const_input_by_index(void *m, size_t i, void **p) {
  if (i >= ((model_t *)m)->ins) return fail("no such input");
  return *p = &((model_t *)m)->in[i], 0;
}
int ov_model_const_output_by_index(void *m, size_t i, void **p) {
  if (i >= ((model_t *)m)->outs) return fail("no such output");
  return *p = &((model_t *)m)->out[i], 0;
}
int ov_model_const_output_by_name(void *m, const char *name, void **p) {
  for (size_t i = 0; i < ((model_t *)m)->outs; i++)
    if (strcmp(((model_t *)m)->out[i].name, name) == 0) return *p = &((model_t *)m)->out[i], 0;
  return fail("no such output");
}
void ov_output_const_port_free(void *p) {}
int ov_port_get_any_name(void *p, char **name) { return *name = strdup(((port_t *)p)->name), 0; }
int ov_port_get_element_type(void *p, int *type) { return *type = ((port_t *)p)->type, 0; }
int ov_partial_shape_create_static(int64_t rank, const int64_t *dims, partial_t *s) {
  s->rank.min = s->rank.max = rank;
  s->dims = calloc((size_t)rank + 1, sizeof *s->dims);
  for (int64_t i = 0; i < rank; i++) s->dims[i].min = s->dims[i].max = dims[i];
  return 0;
}
int ov_port_get_partial_shape(void *p, partial_t *s) { return ov_partial_shape_create_static(((port_t *)p)->rank, ((port_t *)p)->dims, s); }
void ov_partial_shape_free(partial_t *s) { free(s->dims); }
int ov_model_reshape_single_input(void *m, partial_t s) { return fail("the double does not reshape"); }

int ov_core_compile_model(void *core, void *model, const char *device, size_t n, void **compiled, ...) {
  if (strcmp(device, "MYRIAD") != 0) return fail("the double has the stick only");
  if (behaves("hang-load", NULL)) hang();
  if (behaves("absent", NULL)) return fail("Can not init Myriad device: NC_ERROR");
  if (behaves("busy", NULL)) return fail("Can not init Myriad device: NC_DEVICE_BUSY, LIBUSB_ERROR_BUSY");
  *compiled = malloc(sizeof(model_t));
  memcpy(*compiled, model, sizeof(model_t));
  return 0;
}
void ov_compiled_model_free(void *c) { free(c); }
int ov_compiled_model_create_infer_request(void *compiled, void **out) {
  request_t *r = calloc(1, sizeof *r);
  r->m = *(model_t *)compiled;
  r->in = calloc(1, r->m.in[0].bytes);
  r->out = calloc(1, r->m.out[0].bytes);
  *out = r;
  return 0;
}
void ov_infer_request_free(void *r) {
  free(((request_t *)r)->in);
  free(((request_t *)r)->out);
  free(r);
}
static int get(port_t *p, void *data, void **t) {
  tensor_t *n = malloc(sizeof *n);
  n->p = p;
  n->data = data;
  *t = n;
  return 0;
}
int ov_infer_request_get_input_tensor_by_index(void *r, size_t i, void **t) { return get(&((request_t *)r)->m.in[0], ((request_t *)r)->in, t); }
int ov_infer_request_get_output_tensor_by_index(void *r, size_t i, void **t) { return get(&((request_t *)r)->m.out[0], ((request_t *)r)->out, t); }
int ov_tensor_data(void *t, void **data) { return *data = ((tensor_t *)t)->data, 0; }
int ov_tensor_get_byte_size(void *t, size_t *n) { return *n = ((tensor_t *)t)->p->bytes, 0; }
void ov_tensor_free(void *t) { free(t); }

static void answer(request_t *r, int wrong) {
  const float *x = r->in;
  float *y = r->out, sum = 0;
  size_t n = r->m.out[0].n;
  for (size_t i = 0; i < n; i++) {
    float a = 0;
    for (size_t k = 0; k < r->m.in[0].n; k++) a += x[k] * (float)((k * 7 + i * 3) % 5);
    y[i] = wrong ? (float)i + 1 : a * a + 0.1f;
    sum += y[i];
  }
  for (size_t i = 0; i < n; i++) y[i] /= sum;
}

int ov_infer_request_start_async(void *r) { return 0; }
int ov_infer_request_cancel(void *r) { return 0; } // the stick's plugin does not stop either
int ov_infer_request_wait(void *p) {
  request_t *r = p;
  int ms = 0;
  if (behaves("abort", NULL)) abort();
  if (behaves("hang", NULL)) hang();
  if (behaves("slow", &ms)) sleep_ms(ms);
  if (behaves("absent", NULL)) return fail("Failed to read output from FIFO: NC_ERROR");
  answer(r, behaves("wrong", NULL));
  if (behaves("nan", NULL))
    for (size_t i = 0; i < r->m.out[0].n; i++) ((float *)r->out)[i] = NAN;
  return 0;
}
