package replay

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"heron/camera"
)

// run opens a source and starts it.
func run(t *testing.T, source string, fps float64) (*camera.Source, context.Context) {
	t.Helper()
	s, err := camera.New(camera.Config{Options: camera.Options{Name: "cam", Source: source, FPS: fps}, Open: New(nil)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s, ctx
}

func names(t *testing.T, s *camera.Source, ctx context.Context, most int) (got []string, end error) {
	t.Helper()
	for len(got) < most {
		f, err := s.Next(ctx)
		if err != nil {
			return got, err
		}
		got = append(got, f.Name)
		s.Release(f)
	}
	return got, nil
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.PNG", encoded(t, "png"))
	write(t, dir, "a.jpg", encoded(t, "jpg"))
	write(t, dir, "b.jpg", encoded(t, "jpg")[:200]) // broken: named, counted, skipped
	write(t, dir, "d.bmp", encoded(t, "bmp"))
	write(t, dir, "notes.txt", []byte("no picture"))
	write(t, dir, ".hidden.jpg", nil)
	s, ctx := run(t, "pictures:"+dir, 0)
	got, end := names(t, s, ctx, 100)
	if !slices.Equal(got, []string{"a.jpg", "c.PNG", "d.bmp"}) || end != io.EOF {
		t.Errorf("%v %v", got, end)
	}
	if st := s.Stats(); st.State != camera.Ended || st.Errors != 1 || !strings.Contains(st.LastError, "b.jpg") || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}

	s, ctx = run(t, "pictures:"+dir+"?loop=true", 0)
	got, end = names(t, s, ctx, 7)
	if !slices.Equal(got, []string{"a.jpg", "c.PNG", "d.bmp", "a.jpg", "c.PNG", "d.bmp", "a.jpg"}) || end != nil {
		t.Errorf("%v %v", got, end)
	}
	s, ctx = run(t, "pictures:"+filepath.Join(dir, "c.PNG"), 0)
	if got, end = names(t, s, ctx, 7); !slices.Equal(got, []string{"c.PNG"}) || end != io.EOF {
		t.Errorf("%v %v", got, end)
	}
}

func TestFolderWithoutGoodPictures(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.jpg", []byte("x"))
	s, ctx := run(t, "pictures:"+dir+"?loop=true", 0)
	for s.Stats().State != camera.Reopening {
		if ctx.Err() != nil {
			t.Fatalf("%+v", s.Stats())
		}
		time.Sleep(time.Millisecond)
	}
	if st := s.Stats(); !strings.Contains(st.LastError, "not one of the folder's files") || st.Read != 0 {
		t.Errorf("%+v", st)
	}
}

func TestOpenFailures(t *testing.T) {
	open := New(nil)
	for source, want := range map[string]string{
		"pictures:":                      "no folder given",
		"pictures:/no/such/folder":       "no such folder or file",
		"pictures:" + t.TempDir():        "holds no .jpg",
		"pictures:/tmp?loop=perhaps":     "true or false",
		"pictures:/tmp?speed=2":          "unknown option",
		"testcard:/x":                    "takes no path",
		"testcard:?width=9":              "between 16 and 8192",
		"testcard:?width=wide":           "not a whole number",
		"testcard:?fps=0":                "between 1 and 1000",
		"v4l2:/dev/video0":               camera.ErrNotMine.Error(),
		"rtsp://user:secret@host/stream": camera.ErrNotMine.Error(),
	} {
		_, err := open(t.Context(), camera.Options{Source: source})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}

func TestCardMoves(t *testing.T) {
	s, ctx := run(t, "testcard:?width=320&height=200&fps=100", 0)
	var last []byte
	for range 10 {
		f, err := s.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if f.Width != 320 || f.Height != 200 || len(f.Pix) != 320*200*3 {
			t.Fatalf("%d×%d", f.Width, f.Height)
		}
		if bytes.Equal(last, f.Pix) {
			t.Error("two frames are the same")
		}
		last = append(last[:0], f.Pix...)
		s.Release(f)
	}
	var q camera.Quality
	if facts := q.Assess(&camera.Frame{Pix: last, Width: 320, Height: 200, Stride: 960}, true); facts != nil {
		t.Errorf("the test card is %v", facts)
	}
}

func TestCardKeepsItsRate(t *testing.T) {
	for size, want := range map[string][2]int{"": {640, 480}, "?width=16&height=16": {16, 16}} {
		d, err := New(nil)(t.Context(), camera.Options{Source: "testcard:" + size})
		if err != nil {
			t.Fatal(err)
		}
		var f camera.Frame
		begin := time.Now()
		for range 4 {
			if err := d.Read(&f); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took < 115*time.Millisecond || [2]int{f.Width, f.Height} != want {
			t.Errorf("4 frames at 25 a second took %v; %d×%d", took, f.Width, f.Height)
		}
		time.Sleep(200 * time.Millisecond)
		was := f.Seq
		if err := d.Read(&f); err != nil || f.Seq < was+4 {
			t.Errorf("after a pause frame %d follows %d: %v", f.Seq, was, err)
		}
	}
}
