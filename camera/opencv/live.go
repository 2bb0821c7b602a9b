//go:build opencv

package opencv

// void heron_decoder_threads(int n);
// void heron_forget_said(void);
// const char *heron_said(void);
// void heron_silence(long long us);
// unsigned heron_decoded(void);
// void heron_forget_decoded(void);
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"gocv.io/x/gocv"

	"heron/camera"
)

// live is a camera's stream, of which the newest frame is wanted: one core decodes it, or as many as it takes. From a frame's sending to
// its hand-out pass 1.0 intervals with H.264 and one core, which are FFmpeg's parser (it knows a picture's end by the next one's begin),
// and one more with each further core. As OpenCV opens it, all cores have a share: 2.0 on two, 4.0 on four.
type live struct {
	*capture
	open   func(cores int) (*gocv.VideoCapture, error)
	cpu    func() time.Duration // that this thread has used
	frames int                  // read to judge the stream by, since …
	used   time.Duration        // … the processor's time was this
	began  time.Duration        // … and the stream's this
	judged bool
	before time.Duration // the stream's time until it was opened anew
	size   uint          // of the decoder's pictures, as heron_decoded tells it
}

// judgedBy is how many frames tell a stream's cost.
const judgedBy = 50

// openLive opens a stream that opener knows how to open.
func openLive(what string, opener func(cores int) (*gocv.VideoCapture, error)) (*live, error) {
	vc, err := opener(1)
	if err != nil {
		return nil, err
	}
	return &live{capture: &capture{vc: vc, what: what, clock: true}, open: opener, cpu: threadTime}, nil
}

// Read waits for the next frame. A stream that one core does not decode in time is opened anew, once.
func (l *live) Read(f *camera.Frame) error {
	if err := l.capture.Read(f); err != nil {
		return err
	}
	if err := l.resized(uint(C.heron_decoded())); err != nil {
		return err
	}
	f.Device += l.before
	if l.judged {
		return nil
	}
	if l.frames == 0 {
		l.used, l.began = l.cpu(), f.Device
	}
	if l.frames++; l.frames <= judgedBy {
		return nil
	}
	l.judged = true
	if n := cores(l.cpu()-l.used, f.Device-l.began, runtime.NumCPU()); n > 1 {
		l.before = f.Device
		return l.reopen(n)
	}
	return nil
}

// resized ends a stream whose pictures have another size than it began with: it has to be opened anew. A source is read by one thread alone.
func (l *live) resized(now uint) error {
	if now == 0 || now == l.size {
		return nil
	}
	was := l.size
	if l.size = now; was == 0 {
		return nil
	}
	return fmt.Errorf("%s: its picture changes from %d×%d to %d×%d", l.what, was>>16, was&0xffff, now>>16, now&0xffff)
}

func (l *live) reopen(cores int) error {
	l.vc.Close() // Close does nothing where it is done again
	vc, err := l.open(cores)
	if err != nil {
		return fmt.Errorf("%s: one core does not decode it in time, and it cannot be opened anew for %d", l.what, cores) // GoCV's error quotes the password
	}
	l.vc = vc
	return nil
}

// cores is how many are to decode a stream of which so long a piece took one core so much time: each half of its time at most, for
// models want them too. Without a clock that is believed it is one.
func cores(used, piece time.Duration, most int) int {
	if used <= 0 || piece <= 0 {
		return 1
	}
	return int(min(1+2*used/piece, time.Duration(most)))
}

// silence is how long a stream may send nothing at all, also while it is opened: as long as a reading may take, and not less than readTimeout.
func silence(o camera.Options) time.Duration { return max(readTimeout, o.ReadTimeout) }

// openFor opens a stream to be decoded by so many cores. An error is what the server refused, empty where FFmpeg does not tell: GoCV's is not
// passed on because it quotes the URL with its password.
func openFor(cores int, url string, o camera.Options) (*gocv.VideoCapture, error) {
	runtime.LockOSThread() // the number is this thread's, and what is said
	defer runtime.UnlockOSThread()
	C.heron_decoder_threads(C.int(cores))
	defer C.heron_decoder_threads(0)
	C.heron_silence(C.longlong(silence(o).Microseconds()))
	defer C.heron_silence(0)
	C.heron_forget_said()
	C.heron_forget_decoded()
	vc, err := openFFmpeg(url, o)
	if err != nil {
		return nil, errors.New(refused(C.GoString(C.heron_said())))
	}
	return vc, nil
}
