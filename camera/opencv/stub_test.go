//go:build !opencv

package opencv

import (
	"errors"
	"strings"
	"testing"

	"heron/camera"
)

func TestWithoutOpenCV(t *testing.T) {
	for _, source := range []string{"v4l2:/dev/video0", "rtsp://user:secret@host/x", "http://host/", "file:/x.avi", "gstreamer:videotestsrc"} {
		_, err := Open(t.Context(), camera.Options{Source: source})
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "make build") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", source, err)
		}
	}
	if _, err := Open(t.Context(), camera.Options{Source: "pictures:/x"}); err != camera.ErrNotMine {
		t.Errorf("foreign scheme: %v", err)
	}
	if Decoder() != nil || Encoder() == nil || Resizer() != nil || Version() != "" {
		t.Error("the stub must leave pictures to Go, and encode and resize with Go")
	}
}
