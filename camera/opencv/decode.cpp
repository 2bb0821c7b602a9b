//go:build opencv

#include <opencv2/imgcodecs.hpp>

// Into a Mat that is given, imdecode does not tell that the pixels could not be decoded (OpenCV 4.6): the Mat has the size that the header
// says, and whatever lay in its memory before, such as an older picture. Only the Mat that it makes itself is empty then.
extern "C" int heron_decode(void *into, const unsigned char *data, size_t n) {
	try {
		const cv::Mat bytes(1, static_cast<int>(n), CV_8UC1, const_cast<unsigned char *>(data));
		cv::Mat made = cv::imdecode(bytes, cv::IMREAD_COLOR);
		*static_cast<cv::Mat *>(into) = made;
		return !made.empty();
	} catch (...) {
		return 0;
	}
}
