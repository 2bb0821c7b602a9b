//go:build cgo && linux

#include "shim.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*reporter)(void *, const char *, va_list);

// The functions used of libtensorflowlite_c, without their prefix TfLite.
#define NEEDED(F) \
	F(const char *, Version, (void)) \
	F(void *, ModelCreate, (const void *, size_t)) \
	F(void, ModelDelete, (void *)) \
	F(void *, InterpreterOptionsCreate, (void)) \
	F(void, InterpreterOptionsDelete, (void *)) \
	F(void, InterpreterOptionsSetNumThreads, (void *, int32_t)) \
	F(void, InterpreterOptionsSetErrorReporter, (void *, reporter, void *)) \
	F(void, InterpreterOptionsAddDelegate, (void *, void *)) \
	F(void *, InterpreterCreate, (const void *, const void *)) \
	F(void, InterpreterDelete, (void *)) \
	F(int, InterpreterAllocateTensors, (void *)) \
	F(int, InterpreterInvoke, (void *)) \
	F(int32_t, InterpreterGetInputTensorCount, (const void *)) \
	F(int32_t, InterpreterGetOutputTensorCount, (const void *)) \
	F(void *, InterpreterGetInputTensor, (const void *, int32_t)) \
	F(const void *, InterpreterGetOutputTensor, (const void *, int32_t)) \
	F(void *, TensorData, (const void *)) \
	F(size_t, TensorByteSize, (const void *))

// Those that older libraries, or some builds, do not have.
#define WANTED(F) \
	F(void *, ModelCreateWithErrorReporter, (const void *, size_t, reporter, void *)) \
	F(int, InterpreterOptionsEnableCancellation, (void *, bool)) \
	F(int, InterpreterCancel, (const void *)) \
	F(void *, XNNPackDelegateCreate, (const void *)) \
	F(void, XNNPackDelegateDelete, (void *)) \
	F(struct big, XNNPackDelegateOptionsDefault, (void))

struct big { int32_t word[128]; }; // larger than any options struct, and so returned through memory as they are

struct heron_lib {
#define F(type, name, args) type(*name) args;
	NEEDED(F) WANTED(F)
#undef F
};

struct heron_plugin {
	void *(*create)(const char *const *, const char *const *, size_t, void (*)(const char *));
	void (*destroy)(void *);
	const char *(*version)(void);
	struct device *(*list)(size_t *);
	void (*unlist)(struct device *);
};

struct device { int type; const char *path; };

struct heron_session {
	heron_lib *lib;
	void *bytes, *model, *interpreter, *delegate;
	void (*destroy)(void *); // of the delegate
	const void *in, *out;
	void *in_data, *out_data;
	char words[1024];
};

static void say(char *err, size_t room, const char *what) {
	snprintf(err, room, "%s", what ? what : "unknown error");
}

heron_lib *heron_open(const char *path, char *err, size_t room) {
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!h) {
		say(err, room, dlerror());
		return NULL;
	}
	heron_lib *l = calloc(1, sizeof *l);
	if (!l) abort();
#define F(type, name, args) *(void **)&l->name = dlsym(h, "TfLite" #name);
	NEEDED(F) WANTED(F)
#undef F
#define F(type, name, args) \
	if (!l->name) { \
		say(err, room, "no function TfLite" #name " in it"); \
		dlclose(h); \
		free(l); \
		return NULL; \
	}
	NEEDED(F)
#undef F
	// Errors come through the reporter; without this, notes about XNNPACK go to the log besides. 3 is above "info" and "warning" in every version.
	void (*quiet)(int) = NULL;
	*(void **)&quiet = dlsym(h, "_ZN6tflite16logging_internal13MinimalLogger21SetMinimumLogSeverityENS_11LogSeverityE");
	if (quiet) quiet(3);
	return l;
}

const char *heron_version(heron_lib *l) { return l->Version(); }

heron_plugin *heron_open_plugin(const char *path, char *err, size_t room) {
	// RTLD_LOCAL: libedgetpu carries parts of TensorFlow Lite itself, which must not stand in for the library's.
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!h) {
		say(err, room, dlerror());
		return NULL;
	}
	heron_plugin *p = calloc(1, sizeof *p);
	if (!p) abort();
	*(void **)&p->create = dlsym(h, "tflite_plugin_create_delegate");
	*(void **)&p->destroy = dlsym(h, "tflite_plugin_destroy_delegate");
	*(void **)&p->version = dlsym(h, "edgetpu_version");
	*(void **)&p->list = dlsym(h, "edgetpu_list_devices");
	*(void **)&p->unlist = dlsym(h, "edgetpu_free_devices");
	if (!p->create || !p->destroy) {
		say(err, room, "no function tflite_plugin_create_delegate in it");
		dlclose(h);
		free(p);
		return NULL;
	}
	return p;
}

const char *heron_plugin_version(heron_plugin *p) {
	const char *v = p->version ? p->version() : NULL;
	return v ? v : "";
}

void heron_devices(heron_plugin *p, char *out, size_t room) {
	size_t n = 0, used = 0;
	out[0] = 0;
	if (!p->list || !p->unlist) return;
	struct device *d = p->list(&n);
	for (size_t i = 0; d && i < n && used < room; i++)
		used += (size_t)snprintf(out + used, room - used, "%s\n", d[i].path ? d[i].path : "");
	if (d) p->unlist(d);
}

// report keeps TensorFlow Lite's words, as many as there is room for.
static void report(void *user, const char *format, va_list args) {
	heron_session *s = user;
	size_t used = strlen(s->words);
	if (used + 2 >= sizeof s->words) return;
	if (used) s->words[used++] = ' ';
	vsnprintf(s->words + used, sizeof s->words - used, format, args);
}

// libedgetpu's error callback has no argument of the caller's: the session that is being loaded on this thread.
static __thread heron_session *loading;

static void report_plugin(const char *message) {
	if (loading && message) snprintf(loading->words, sizeof loading->words, "%s", message);
}

// xnnpack makes TensorFlow Lite's fast CPU delegate for all that it can do, 8-bit models of both kinds included, which are off by default in
// the libraries up to 2.18. Later ones have another options struct, and the right defaults.
static void *xnnpack(heron_lib *l, int threads) {
	enum { signed8 = 1, unsigned8 = 2 };
	int major = 0, minor = 0;
	if (!l->XNNPackDelegateCreate || !l->XNNPackDelegateDelete || sscanf(l->Version(), "%d.%d", &major, &minor) != 2) return NULL;
	struct big o = {{threads, signed8 | unsigned8}};
	if (major > 2 || minor > 18) {
		if (!l->XNNPackDelegateOptionsDefault) return NULL;
		o = l->XNNPackDelegateOptionsDefault();
		o.word[0] = threads;
	}
	return l->XNNPackDelegateCreate(&o);
}

static void drop_delegate(heron_session *s) {
	if (s->delegate) s->destroy(s->delegate);
	s->delegate = NULL;
}

static bool interpret(heron_session *s, int threads) {
	heron_lib *l = s->lib;
	void *o = l->InterpreterOptionsCreate();
	l->InterpreterOptionsSetNumThreads(o, threads);
	l->InterpreterOptionsSetErrorReporter(o, report, s);
	if (l->InterpreterOptionsEnableCancellation) l->InterpreterOptionsEnableCancellation(o, true);
	if (s->delegate) l->InterpreterOptionsAddDelegate(o, s->delegate);
	s->words[0] = 0;
	s->interpreter = l->InterpreterCreate(s->model, o);
	l->InterpreterOptionsDelete(o);
	return s->interpreter != NULL;
}

static bool load_cpu(heron_session *s, int threads) {
	s->delegate = xnnpack(s->lib, threads);
	s->destroy = s->lib->XNNPackDelegateDelete;
	if (interpret(s, threads)) return true;
	if (!s->delegate) return false;
	drop_delegate(s); // XNNPACK of 2.9 refuses uint8; the library's own kernels do not
	return interpret(s, threads);
}

static bool load_plugin(heron_session *s, heron_plugin *p, const char *device, int *busy) {
	const char *key = "device";
	loading = s;
	s->delegate = p->create(&key, &device, device[0] ? 1 : 0, report_plugin);
	loading = NULL;
	s->destroy = p->destroy;
	if (s->delegate) return interpret(s, 1);
	*busy = 1;
	return false;
}

heron_session *heron_load(heron_lib *l, const void *model, size_t size, int threads, heron_plugin *p, const char *device, int *busy, char *err, size_t room) {
	*busy = 0;
	heron_session *s = calloc(1, sizeof *s);
	if (!s || posix_memalign(&s->bytes, 64, size ? size : 1)) abort();
	memcpy(s->bytes, model, size); // the model is read in place for as long as the interpreter lives
	s->lib = l;
	s->model = l->ModelCreateWithErrorReporter ? l->ModelCreateWithErrorReporter(s->bytes, size, report, s) : l->ModelCreate(s->bytes, size);
	bool ok = s->model && (p ? load_plugin(s, p, device, busy) : load_cpu(s, threads));
	if (ok && l->InterpreterAllocateTensors(s->interpreter) == 0) return s;
	say(err, room, s->words);
	heron_free(s);
	return NULL;
}

int heron_accelerated(heron_session *s) { return s->delegate != NULL; }
int heron_inputs(heron_session *s) { return s->lib->InterpreterGetInputTensorCount(s->interpreter); }
int heron_outputs(heron_session *s) { return s->lib->InterpreterGetOutputTensorCount(s->interpreter); }

int heron_bind(heron_session *s, int output) {
	s->in = s->lib->InterpreterGetInputTensor(s->interpreter, 0);
	s->out = s->lib->InterpreterGetOutputTensor(s->interpreter, output);
	if (!s->in || !s->out) return 0;
	s->in_data = s->lib->TensorData(s->in);
	s->out_data = s->lib->TensorData(s->out);
	return s->in_data && s->out_data;
}

void *heron_input_data(heron_session *s, size_t *bytes) {
	*bytes = s->lib->TensorByteSize(s->in);
	return s->in_data;
}

void *heron_output_data(heron_session *s, size_t *bytes) {
	*bytes = s->lib->TensorByteSize(s->out);
	return s->out_data;
}

int heron_invoke(heron_session *s) {
	s->words[0] = 0;
	int status = s->lib->InterpreterInvoke(s->interpreter);
	if (status == 0 && (s->lib->TensorData(s->in) != s->in_data || s->lib->TensorData(s->out) != s->out_data)) return heron_moved;
	return status;
}

void heron_cancel(heron_session *s) {
	if (s->lib->InterpreterCancel) s->lib->InterpreterCancel(s->interpreter);
}

const char *heron_words(heron_session *s) { return s->words; }

void heron_free(heron_session *s) {
	if (s->interpreter) s->lib->InterpreterDelete(s->interpreter);
	drop_delegate(s); // after the interpreter, which uses it to the end
	if (s->model) s->lib->ModelDelete(s->model);
	free(s->bytes);
	free(s);
}
