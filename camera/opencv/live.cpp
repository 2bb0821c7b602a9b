//go:build opencv

#include <cerrno>
#include <cstdio>
#include <dlfcn.h>

// OpenCV 4.6 opens FFmpeg's decoder with as many threads as there are cores, each at a picture of its own: pictures come out
// (cores − 1) intervals late. Neither its properties nor OPENCV_FFMPEG_CAPTURE_OPTIONS reach the decoder, so the call to it is taken
// here, on its way: the dynamic linker prefers a program's own function for the program's libraries too.
static thread_local int threads; // of the decoders that this thread opens; 0 is as OpenCV wants

extern "C" void heron_decoder_threads(int n) { threads = n; }

// theirs is the libraries' function; of the caller's, where OpenCV has loaded FFmpeg as a plug-in.
static void *theirs(const char *name, void *caller) {
	if (void *f = dlsym(RTLD_NEXT, name))
		return f;
	Dl_info at;
	void *lib = dladdr(caller, &at) ? dlopen(at.dli_fname, RTLD_NOW | RTLD_NOLOAD) : nullptr;
	return lib ? dlsym(lib, name) : nullptr; // lib stays open, as it was
}

extern "C" int avcodec_open2(void *decoder, const void *codec, void **options) {
	void *caller = __builtin_return_address(0);
	auto open = reinterpret_cast<int (*)(void *, const void *, void **)>(theirs("avcodec_open2", caller));
	auto set = reinterpret_cast<int (*)(void *, const char *, const char *, int)>(theirs("av_opt_set", caller));
	if (threads > 0 && set) {
		char n[12];
		std::snprintf(n, sizeof n, "%d", threads);
		set(decoder, "threads", n, 0); // what fails leaves it as it was
	}
	return open ? open(decoder, codec, options) : -ENOSYS;
}
