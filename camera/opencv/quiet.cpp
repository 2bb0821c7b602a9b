//go:build opencv

#include <cstdlib>
#include <opencv2/core/utils/logger.hpp>

// OpenCV reads OPENCV_LOG_LEVEL when the library is loaded, before Go can set it, and GoCV has no call for it.
extern "C" void heron_quieten(void) {
	if (!std::getenv("OPENCV_LOG_LEVEL"))
		cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
}
