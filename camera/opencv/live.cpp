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

// How long a server may send nothing at all is FFmpeg's matter, while a stream is opened and after: a camera that is mute would else keep the others
// out for the whole of its OpenTimeout. It is each stream's own, so OPENCV_FFMPEG_CAPTURE_OPTIONS does not do; what is said there counts more.
static thread_local long long silence; // in µs, of the streams that this thread opens; 0 is as OpenCV wants

extern "C" void heron_silence(long long us) { silence = us; }

extern "C" int avformat_open_input(void **stream, const char *url, const void *format, void **options) {
	static auto open = reinterpret_cast<int (*)(void **, const char *, const void *, void **)>(dlsym(RTLD_NEXT, "avformat_open_input"));
	static auto set = reinterpret_cast<int (*)(void **, const char *, const char *, int)>(dlsym(RTLD_NEXT, "av_dict_set"));
	static auto version = reinterpret_cast<unsigned (*)(void)>(dlsym(RTLD_NEXT, "avformat_version"));
	if (silence > 0 && options && set && version) {
		char us[24];
		std::snprintf(us, sizeof us, "%lld", silence);
		const bool renamed = version() >> 16 >= 59; // before, the new name had FFmpeg wait for a caller
		set(options, renamed ? "timeout" : "stimeout", us, 16); // AV_DICT_DONT_OVERWRITE
	}
	return open ? open(stream, url, format, options) : -ENOSYS;
}

// OpenCV 4.6 goes on with the size that a stream had when it was opened: after a change its pictures are torn, or stand still. So the size of what
// the decoder gave is noted, by the same way.
static thread_local int width, height;

extern "C" int avcodec_receive_frame(void *decoder, void *frame) {
	static auto receive = reinterpret_cast<int (*)(void *, void *)>(dlsym(RTLD_NEXT, "avcodec_receive_frame"));
	static auto size = reinterpret_cast<int (*)(void *, const char *, int, int *, int *)>(dlsym(RTLD_NEXT, "av_opt_get_image_size"));
	const int got = receive ? receive(decoder, frame) : -ENOSYS;
	if (got == 0 && size && size(decoder, "video_size", 0, &width, &height) < 0)
		width = height = 0;
	return got;
}

// heron_decoded is the size of the last picture that this thread decoded, width << 16 | height; 0: it is not known.
extern "C" unsigned heron_decoded(void) { return unsigned(width) << 16 | unsigned(height & 0xffff); }
extern "C" void heron_forget_decoded(void) { width = height = 0; }
