//go:build opencv

#include <opencv2/imgproc.hpp>

// GoCV's Resize wants a Mat on the heap for each picture and knows no stride.
extern "C" int heron_resize(unsigned char *dst, int dw, int dh, const unsigned char *src, int sw, int sh, size_t stride) {
	try {
		const cv::Mat from(sh, sw, CV_8UC3, const_cast<unsigned char *>(src), stride);
		cv::Mat to(dh, dw, CV_8UC3, dst);
		cv::resize(from, to, to.size(), 0, 0, cv::INTER_LINEAR);
		return to.data == dst;
	} catch (...) {
		return 0;
	}
}
