//go:build opencv

#include <cerrno>
#include <cstdio>
#include <dlfcn.h>

// OpenCV 4.6 opens FFmpeg's decoder with as many threads as there are cores, each at a picture of its own: pictures come out
// (cores − 1) intervals late. Neither its properties nor OPENCV_FFMPEG_CAPTURE_OPTIONS reach the decoder, so the call to it is taken
// here, on its way: the dynamic linker prefers a program's own function, for the libraries that it is linked with too. An OpenCV that
// loads FFmpeg as a plug-in would pass this by; TestRTSPNewestFrame fails then.
static thread_local int threads; // of the decoders that this thread opens; 0 is as OpenCV wants

extern "C" void heron_decoder_threads(int n) { threads = n; }

extern "C" int avcodec_open2(void *decoder, const void *codec, void **options) {
	static auto open = reinterpret_cast<int (*)(void *, const void *, void **)>(dlsym(RTLD_NEXT, "avcodec_open2"));
	static auto set = reinterpret_cast<int (*)(void *, const char *, const char *, int)>(dlsym(RTLD_NEXT, "av_opt_set"));
	if (threads > 0 && set) {
		char n[12];
		std::snprintf(n, sizeof n, "%d", threads);
		set(decoder, "threads", n, 0); // where that fails, it is as OpenCV wants
	}
	return open ? open(decoder, codec, options) : -ENOSYS;
}
