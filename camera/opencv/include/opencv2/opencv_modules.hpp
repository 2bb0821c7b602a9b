// Debian's header of this name lists every module of OpenCV, so that opencv.hpp asks for headers of packages Heron does not need.
// Placed first in the include path (CGO_CPPFLAGS, see the Makefile), this list lets GoCV build with four -dev packages.
#define HAVE_OPENCV_CORE
#define HAVE_OPENCV_IMGCODECS
#define HAVE_OPENCV_IMGPROC
#define HAVE_OPENCV_VIDEOIO
