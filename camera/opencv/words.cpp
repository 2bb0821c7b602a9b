//go:build opencv

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>

// FFmpeg tells which RTSP request was refused, and how, in its log only. OpenCV sets a function that takes the log; it is noted here, by the
// way of live.cpp, and gets each line after this one has looked at it. An OpenCV that loads FFmpeg as a plug-in passes this by: then nothing is said.
typedef void (*logger)(void *, int, const char *, va_list);
static logger opencv;
static thread_local char said[200]; // the newest refusal that this thread was told of

static void listen(void *context, int level, const char *format, va_list values) {
	static const char refusal[] = "method %s failed: ";
	if (std::strncmp(format, refusal, sizeof refusal - 1) == 0) {
		va_list copy;
		va_copy(copy, values);
		std::vsnprintf(said, sizeof said, format, copy);
		va_end(copy);
	}
	if (opencv)
		opencv(context, level, format, values);
}

extern "C" void av_log_set_callback(logger next) {
	static auto set = reinterpret_cast<void (*)(logger)>(dlsym(RTLD_NEXT, "av_log_set_callback"));
	opencv = next;
	if (set)
		set(listen);
}

extern "C" void heron_forget_said(void) { said[0] = 0; }
extern "C" const char *heron_said(void) { return said; }
