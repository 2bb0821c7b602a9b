//go:build cgo && linux

#include "shim.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { const char *build, *description; } version_t;
typedef struct { char **names; size_t size; } devices_t;
typedef struct { int64_t min, max; } dimension_t;
typedef struct { dimension_t rank; dimension_t *dims; } partial_t;

// name, result, arguments: every one is needed but the last, which came after 2022.3
#define FUNCTIONS(X)                                                                       \
  X(get_openvino_version, int, (version_t *))                                              \
  X(get_error_info, const char *, (int))                                                   \
  X(free, void, (const char *))                                                            \
  X(core_create, int, (void **))                                                           \
  X(core_get_available_devices, int, (void *, devices_t *))                                \
  X(available_devices_free, void, (devices_t *))                                           \
  X(core_get_property, int, (void *, const char *, const char *, char **))                 \
  X(core_read_model, int, (void *, const char *, const char *, void **))                   \
  X(core_compile_model, int, (void *, void *, const char *, size_t, void **, ...))         \
  X(model_inputs_size, int, (void *, size_t *))                                            \
  X(model_outputs_size, int, (void *, size_t *))                                           \
  X(model_const_input_by_index, int, (void *, size_t, void **))                            \
  X(model_const_output_by_index, int, (void *, size_t, void **))                           \
  X(model_const_output_by_name, int, (void *, const char *, void **))                      \
  X(output_const_port_free, void, (void *))                                                \
  X(port_get_any_name, int, (void *, char **))                                             \
  X(port_get_element_type, int, (void *, int *))                                           \
  X(port_get_partial_shape, int, (void *, partial_t *))                                    \
  X(partial_shape_create_static, int, (int64_t, const int64_t *, partial_t *))             \
  X(partial_shape_free, void, (partial_t *))                                               \
  X(model_reshape_single_input, int, (void *, partial_t))                                  \
  X(compiled_model_create_infer_request, int, (void *, void **))                           \
  X(infer_request_get_input_tensor_by_index, int, (void *, size_t, void **))               \
  X(infer_request_get_output_tensor_by_index, int, (void *, size_t, void **))              \
  X(infer_request_start_async, int, (void *))                                              \
  X(infer_request_wait, int, (void *))                                                     \
  X(infer_request_cancel, int, (void *))                                                   \
  X(tensor_data, int, (void *, void **))                                                   \
  X(tensor_get_byte_size, int, (void *, size_t *))                                         \
  X(tensor_free, void, (void *))                                                           \
  X(infer_request_free, void, (void *))                                                    \
  X(compiled_model_free, void, (void *))                                                   \
  X(model_free, void, (void *))                                                            \
  X(get_last_err_msg, const char *, (void))

struct hov_lib {
  void *core;
  version_t version;
#define X(name, result, arguments) result(*name) arguments;
  FUNCTIONS(X)
#undef X
};

struct hov_model {
  hov_lib *l;
  void *model, *compiled, *request, *tensors[2];
  int cancelled; // atomic
  char err[HOV_TEXT];
};

// failed turns a status into -1 and words: the last message where the library tells it, else what the status means.
static int failed(hov_lib *l, int status, const char *step, char *err) {
  if (status == 0) return 0;
  const char *message = l->get_last_err_msg ? l->get_last_err_msg() : NULL;
  snprintf(err, HOV_TEXT, "%s: %s", step, message && *message ? message : l->get_error_info(status));
  if (message) l->free(message);
  return -1;
}

static int find(hov_lib *l, void *handle, char *err) {
#define X(name, result, arguments)                                                         \
  *(void **)&l->name = dlsym(handle, "ov_" #name);                                         \
  if (!l->name && strcmp(#name, "get_last_err_msg") != 0) {                                \
    snprintf(err, HOV_TEXT, "no function ov_%s in it", #name);                             \
    return -1;                                                                             \
  }
  FUNCTIONS(X)
#undef X
  return 0;
}

// hov_open never closes what it opened, not even after a failure: OpenVINO's threads may be in it.
hov_lib *hov_open(const char *path, char *err) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    snprintf(err, HOV_TEXT, "%s", dlerror());
    return NULL;
  }
  hov_lib *l = calloc(1, sizeof *l);
  if (!l) {
    snprintf(err, HOV_TEXT, "out of memory");
    return NULL;
  }
  if (find(l, handle, err) || failed(l, l->get_openvino_version(&l->version), "ask for the version", err) ||
      failed(l, l->core_create(&l->core), "start OpenVINO", err)) {
    free(l);
    return NULL;
  }
  return l;
}

const char *hov_version(const hov_lib *l) { return l->version.build ? l->version.build : ""; }

int hov_devices(hov_lib *l, char *out, size_t n, char *err) {
  devices_t d = {0};
  if (failed(l, l->core_get_available_devices(l->core, &d), "list the devices", err)) return -1;
  size_t used = 0;
  out[0] = 0;
  for (size_t i = 0; i < d.size && used < n; i++) used += (size_t)snprintf(out + used, n - used, "%s\n", d.names[i]);
  l->available_devices_free(&d);
  return 0;
}

int hov_property(hov_lib *l, const char *device, const char *key, char *out, size_t n, char *err) {
  char *value = NULL;
  if (failed(l, l->core_get_property(l->core, device, key, &value), "ask the device", err)) return -1;
  snprintf(out, n, "%s", value ? value : "");
  if (value) l->free(value);
  return 0;
}

hov_model *hov_read(hov_lib *l, const char *path, const char *weights, char *err) {
  hov_model *m = calloc(1, sizeof *m);
  if (!m) {
    snprintf(err, HOV_TEXT, "out of memory");
    return NULL;
  }
  m->l = l;
  if (failed(l, l->core_read_model(l->core, path, weights, &m->model), "read the model", err)) {
    hov_free(m);
    return NULL;
  }
  return m;
}

const char *hov_error(const hov_model *m) { return m->err; }

int hov_ports(hov_model *m, size_t *inputs, size_t *outputs) {
  return failed(m->l, m->l->model_inputs_size(m->model, inputs), "count the inputs", m->err) ||
                 failed(m->l, m->l->model_outputs_size(m->model, outputs), "count the outputs", m->err)
             ? -1
             : 0;
}

static void *port(hov_model *m, int output, size_t index) {
  hov_lib *l = m->l;
  void *p = NULL;
  int status = output ? l->model_const_output_by_index(m->model, index, &p) : l->model_const_input_by_index(m->model, index, &p);
  return failed(l, status, output ? "look at an output" : "look at an input", m->err) ? NULL : p;
}

// name leaves to empty where a port has no name.
static void name(hov_lib *l, void *p, char *to, size_t n) {
  char *text = NULL;
  to[0] = 0;
  if (l->port_get_any_name(p, &text) != 0 || !text) return;
  snprintf(to, n, "%s", text);
  l->free(text);
}

static int shape(hov_model *m, void *p, hov_port *to) {
  partial_t s = {0};
  if (failed(m->l, m->l->port_get_partial_shape(p, &s), "look at a shape", m->err)) return -1;
  to->rank = s.rank.min == s.rank.max && s.rank.min >= 0 && s.rank.min <= HOV_RANK ? (int)s.rank.min : -1;
  for (int i = 0; i < to->rank; i++) to->dims[i] = s.dims[i].min == s.dims[i].max ? s.dims[i].min : -1;
  m->l->partial_shape_free(&s);
  return 0;
}

int hov_port_at(hov_model *m, int output, size_t index, hov_port *to) {
  void *p = port(m, output, index);
  if (!p) return -1;
  memset(to, 0, sizeof *to);
  name(m->l, p, to->name, sizeof to->name);
  int bad = failed(m->l, m->l->port_get_element_type(p, &to->type), "look at an element type", m->err) || shape(m, p, to);
  m->l->output_const_port_free(p);
  return bad ? -1 : 0;
}

// A tensor may have several names; any_name gives the same one for the same tensor.
int hov_output_named(hov_model *m, const char *wanted, size_t *index) {
  size_t inputs, outputs;
  void *p = NULL;
  char mine[256], other[256];
  if (hov_ports(m, &inputs, &outputs) || failed(m->l, m->l->model_const_output_by_name(m->model, wanted, &p), "find an output", m->err)) return -1;
  name(m->l, p, mine, sizeof mine);
  m->l->output_const_port_free(p);
  for (*index = 0; *index < outputs; ++*index) {
    if (!(p = port(m, 1, *index))) return -1;
    name(m->l, p, other, sizeof other);
    m->l->output_const_port_free(p);
    if (strcmp(mine, other) == 0) return 0;
  }
  snprintf(m->err, HOV_TEXT, "no such output");
  return -1;
}

int hov_reshape(hov_model *m, int rank, const int64_t *dims) {
  partial_t s = {0};
  if (failed(m->l, m->l->partial_shape_create_static(rank, dims, &s), "make a shape", m->err)) return -1;
  int bad = failed(m->l, m->l->model_reshape_single_input(m->model, s), "fix the shape", m->err);
  m->l->partial_shape_free(&s);
  return bad;
}

// ov_core_compile_model reads as many arguments as its count says: more may be handed over.
int hov_compile(hov_model *m, const char *device, size_t pairs, const char *const *v) {
  hov_lib *l = m->l;
  const char *a[2 * HOV_PROPERTIES] = {0};
  if (pairs > HOV_PROPERTIES) pairs = HOV_PROPERTIES;
  for (size_t i = 0; i < 2 * pairs; i++) a[i] = v[i];
  int status = l->core_compile_model(l->core, m->model, device, 2 * pairs, &m->compiled, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8],
                                     a[9], a[10], a[11], a[12], a[13], a[14], a[15]);
  if (failed(l, status, "compile the model", m->err)) return -1;
  return failed(l, l->compiled_model_create_infer_request(m->compiled, &m->request), "make a request", m->err);
}

int hov_tensor(hov_model *m, int output, size_t index, void **data, size_t *bytes) {
  hov_lib *l = m->l;
  void **t = &m->tensors[output ? 1 : 0];
  if (!*t) {
    int status = output ? l->infer_request_get_output_tensor_by_index(m->request, index, t) : l->infer_request_get_input_tensor_by_index(m->request, index, t);
    if (failed(l, status, "get a tensor", m->err)) return -1;
  }
  return failed(l, l->tensor_get_byte_size(*t, bytes), "measure a tensor", m->err) || failed(l, l->tensor_data(*t, data), "find a tensor's data", m->err)
             ? -1
             : 0;
}

// The synchronous call would not heed a cancel, and OpenVINO forgets one that comes before the start.
int hov_infer(hov_model *m) {
  hov_lib *l = m->l;
  if (failed(l, l->infer_request_start_async(m->request), "start to infer", m->err)) return -1;
  if (__atomic_load_n(&m->cancelled, __ATOMIC_SEQ_CST)) (void)l->infer_request_cancel(m->request);
  return failed(l, l->infer_request_wait(m->request), "infer", m->err);
}

void hov_cancel(hov_model *m) {
  __atomic_store_n(&m->cancelled, 1, __ATOMIC_SEQ_CST);
  (void)m->l->infer_request_cancel(m->request); // refused when nothing is at work
}

void hov_rearm(hov_model *m) { __atomic_store_n(&m->cancelled, 0, __ATOMIC_SEQ_CST); }

void hov_free(hov_model *m) {
  hov_lib *l = m->l;
  for (int i = 0; i < 2; i++)
    if (m->tensors[i]) l->tensor_free(m->tensors[i]);
  if (m->request) l->infer_request_free(m->request);
  if (m->compiled) l->compiled_model_free(m->compiled);
  if (m->model) l->model_free(m->model);
  free(m);
}
