package v4l2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"heron/camera"
)

// tree is a sysfs and a /dev as the kernel lays them out; cameras come and go.
type tree struct {
	Roots
	t *testing.T
}

func newTree(t *testing.T) *tree {
	r := &tree{Roots{t.TempDir(), t.TempDir()}, t}
	for _, dir := range []string{"class/video4linux", "bus/usb/drivers/uvcvideo", "devices"} {
		r.must(os.MkdirAll(filepath.Join(r.Sysfs, dir), 0o755))
	}
	return r
}

func (r *tree) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// plug makes one node. A USB device is its interface (1-1.4:1.0), anything else a platform device.
func (r *tree) plug(number, index int, device, serial, name string) {
	r.t.Helper()
	dir := filepath.Join(r.Sysfs, "devices", device)
	if usb, _, ok := strings.Cut(device, ":"); ok {
		dir = filepath.Join(r.Sysfs, "devices", usb, device)
		r.must(os.MkdirAll(dir, 0o755))
		if serial != "" {
			r.must(os.WriteFile(filepath.Join(dir, "../serial"), []byte(serial+"\n"), 0o644))
		}
		_ = os.Symlink(filepath.Join(r.Sysfs, "bus/usb/drivers/uvcvideo"), filepath.Join(dir, "driver")) // may be there
	}
	v := fmt.Sprintf("video%d", number)
	n := filepath.Join(dir, "video4linux", v)
	r.must(os.MkdirAll(n, 0o755))
	r.must(os.WriteFile(filepath.Join(n, "name"), []byte(name+"\n"), 0o644))
	r.must(os.WriteFile(filepath.Join(n, "index"), fmt.Appendln(nil, index), 0o644))
	r.must(os.Symlink("../..", filepath.Join(n, "device")))
	r.must(os.Symlink(n, filepath.Join(r.Sysfs, "class/video4linux", v)))
	r.must(os.WriteFile(filepath.Join(r.Dev, v), nil, 0o600))
}

func (r *tree) unplug(number int) {
	r.t.Helper()
	v := fmt.Sprintf("video%d", number)
	link := filepath.Join(r.Sysfs, "class/video4linux", v)
	n, err := os.Readlink(link)
	r.must(err)
	r.must(os.RemoveAll(n))
	r.must(os.Remove(link))
	r.must(os.Remove(filepath.Join(r.Dev, v)))
}

func (r *tree) node(number int) string { return filepath.Join(r.Dev, fmt.Sprintf("video%d", number)) }

func TestListNamesCamerasByWhatLasts(t *testing.T) {
	r := newTree(t)
	if all, err := r.List(); err != nil || len(all) != 0 {
		t.Errorf("an empty tree: %v, %v", all, err)
	}
	r.plug(10, 0, "1-1.4:1.0", "ABC1", "HD Pro Webcam C920")
	r.plug(11, 1, "1-1.4:1.0", "ABC1", "HD Pro Webcam C920") // tells about the pictures
	r.plug(2, 0, "1-1.3:1.0", "", "USB Camera")
	r.plug(4, 0, "2-1:1.0", "BRIO", "Logitech BRIO")
	r.plug(5, 1, "2-1:1.0", "BRIO", "Logitech BRIO")
	r.plug(6, 0, "2-1:1.2", "BRIO", "Logitech BRIO") // its infrared half
	r.plug(0, 0, "vivid.0", "", "vivid-000-vid-cap")
	r.plug(1, 1, "vivid.0", "", "vivid-001-vid-cap")
	all, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range all {
		got = append(got, fmt.Sprintf("%s %s %s", filepath.Base(c.Node), c.Source, c.Driver))
	}
	want := []string{"video0 usb:vivid-000-vid-cap ", "video1 usb:vivid-001-vid-cap ", "video2 usb:1-1.3 uvcvideo",
		"video4 usb:2-1:1.0 uvcvideo", "video6 usb:2-1:1.2 uvcvideo", "video10 usb:ABC1 uvcvideo"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for id, node := range map[string]int{"ABC1": 10, "1-1.4": 10, "HD Pro Webcam C920": 10, "1-1.3": 2, "USB Camera": 2, "2-1:1.2": 6, "vivid-001-vid-cap": 1} {
		if c, err := r.Find(id); err != nil || c.Node != r.node(node) {
			t.Errorf("%s: %+v, %v", id, c, err)
		}
	}
	for id, words := range map[string][]string{
		"BRIO":    {"2 cameras have this serial number", "usb:2-1:1.0 or usb:2-1:1.2", r.node(4), r.node(6)},
		"vivid.0": {"2 cameras", r.node(0), r.node(1)},
		"ABC":     {"no camera has", "attached:", "serial ABC1", "1-1.3"},
	} {
		_, err := r.Find(id)
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not say %q", id, err, w)
			}
		}
	}
	if _, err := newTree(t).Find("X"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no camera is attached") {
		t.Error(err)
	}
	if _, err := Modes(r.node(0)); err == nil || !strings.Contains(err.Error(), "does not answer as a camera") {
		t.Errorf("modes of a file: %v", err)
	}
}

// stub is a camera whose frames name the node they come from; it ends when its node goes.
type stub struct{ node string }

func (s stub) Read(f *camera.Frame) error {
	time.Sleep(50 * time.Millisecond)
	if _, err := os.Stat(s.node); err != nil {
		return io.ErrUnexpectedEOF
	}
	*f = camera.Frame{Pix: append(f.Pix[:0], 0, 0, 0), Width: 1, Height: 1, Stride: 3, Name: filepath.Base(s.node)}
	return nil
}
func (stub) Close() error { return nil }

func openStub(_ context.Context, o camera.Options) (camera.Device, error) {
	path := strings.TrimPrefix(o.Source, "v4l2:")
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return stub{path}, nil
}

// V1: the camera is unplugged and comes back under another node, while another one takes its old node. Each source finds its own
// camera again, by whatever it was named, and says so; never is a frame of the other camera handed on.
func TestFault_V1_Renumbered(t *testing.T) {
	for _, serials := range [][2]string{{"S1", "S2"}, {"", ""}} {
		for _, by := range []string{"serial", "path", "name", "node"} {
			if by == "serial" && serials[0] == "" {
				continue
			}
			t.Run(by+" "+serials[0], func(t *testing.T) {
				r := newTree(t)
				r.plug(0, 0, "1-1.1:1.0", serials[0], "front cam")
				r.plug(2, 0, "1-1.2:1.0", serials[1], "other cam")
				source := map[string]string{"serial": "usb:S1", "path": "usb:1-1.1", "name": "usb:front cam", "node": "v4l2:" + r.node(0)}[by]
				synctest.Test(t, func(t *testing.T) {
					s, err := camera.New(camera.Config{Options: camera.Options{Name: "front", Source: source}, Open: New(r.Roots, openStub)})
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan error, 1)
					go func() { done <- s.Run(ctx) }()
					defer func() { cancel(); <-done }()
					await(t, s, ctx, "video0")
					r.unplug(0)
					r.unplug(2)
					time.Sleep(20 * time.Second)
					if st := s.Stats(); st.State != camera.Reopening {
						t.Errorf("unplugged: %+v", st)
					}
					r.plug(0, 0, "1-1.2:1.0", serials[1], "other cam")
					time.Sleep(10 * time.Second)
					if st := s.Stats(); st.State != camera.Reopening || st.LastError == "" {
						t.Errorf("another camera at its node: %+v", st)
					}
					r.plug(1, 0, "1-1.1:1.0", serials[0], "front cam")
					began := time.Now()
					await(t, s, ctx, "video1")
					if took := time.Since(began); took > 10*time.Second {
						t.Errorf("back after %v", took)
					} else {
						t.Logf("back after %v", took)
					}
					if st := s.Stats(); !strings.Contains(st.LastError, "is now "+r.node(1)) {
						t.Errorf("does not say that it moved: %+v", st)
					}
				})
			})
		}
	}
}

// await takes frames until one comes from node; others are left over from before, and none may come from elsewhere.
func await(t *testing.T, s *camera.Source, ctx context.Context, node string) {
	t.Helper()
	for {
		f, err := s.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		from, seq := f.Name, f.Seq
		s.Release(f)
		if from == node {
			return
		}
		if node == "video0" || from != "video0" || s.Stats().Read-seq > 1 {
			t.Fatalf("a frame of %s, want one of %s", from, node)
		}
	}
}

// Plugged in elsewhere without a serial number: its name finds it, if no other has that name.
func TestFault_V1_OtherSocket(t *testing.T) {
	r := newTree(t)
	r.plug(0, 0, "1-1.1:1.0", "", "front cam")
	open := New(r.Roots, openStub)
	var notes []string
	o := camera.Options{Name: "front", Source: "v4l2:" + r.node(0), Note: func(s string) { notes = append(notes, s) }}
	if _, err := open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	r.unplug(0)
	if _, err := open(t.Context(), o); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "is gone") {
		t.Error(err)
	}
	r.plug(3, 0, "1-1.4:1.0", "", "front cam")
	if d, err := open(t.Context(), o); err != nil || d.(stub).node != r.node(3) || len(notes) != 1 {
		t.Errorf("%v, %v, %q", d, err, notes)
	}
	r.plug(4, 0, "1-1.3:1.0", "", "front cam")
	r.unplug(3)
	r.plug(5, 0, "1-1.2:1.0", "", "front cam")
	if _, err := open(t.Context(), o); err == nil {
		t.Error("one of two cameras of the same name was taken for the old one")
	}
}

// Another camera stays in the place of the first: after a minute it is taken, as a technician who changed it means it.
func TestAnExchangedCameraIsTakenInTheEnd(t *testing.T) {
	r := newTree(t)
	r.plug(0, 0, "1-1.1:1.0", "S1", "front cam")
	o := camera.Options{Name: "front", Source: "v4l2:" + r.node(0)}
	synctest.Test(t, func(t *testing.T) {
		open := New(r.Roots, openStub)
		if _, err := open(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		r.unplug(0)
		r.plug(0, 0, "1-1.1:1.0", "S2", "front cam")
		if _, err := open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another camera now") {
			t.Error(err)
		}
		time.Sleep(patience)
		if _, err := open(t.Context(), o); err != nil {
			t.Error(err)
		}
	})
}

// A path that sysfs does not know is opened as it is.
func TestAPathIsEnough(t *testing.T) {
	r := newTree(t)
	path := filepath.Join(t.TempDir(), "loopback")
	r.must(os.WriteFile(path, nil, 0o600))
	open := New(r.Roots, openStub)
	for range 2 {
		if _, err := open(t.Context(), camera.Options{Source: "v4l2:" + path}); err != nil {
			t.Error(err)
		}
	}
	if _, err := open(t.Context(), camera.Options{Source: "rtsp://x"}); !errors.Is(err, camera.ErrNotMine) {
		t.Error(err)
	}
	if _, err := open(t.Context(), camera.Options{Source: "usb:"}); err == nil {
		t.Error("usb: without a name was opened")
	}
}

// V10: what the kernel answers has words and a next step; other cameras run on.
func TestFault_V10_BusyAndPermission(t *testing.T) {
	for errno, want := range map[error]string{unix.EBUSY: "in use by", unix.EACCES: "group video", unix.EPERM: "group video",
		unix.ENOENT: "heron camera list", unix.ENODEV: "heron camera list", unix.EIO: "input/output error"} {
		if err := named("/dev/video9", errno); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "/dev/video9") {
			t.Errorf("%v: %v", errno, err)
		}
	}
	r := newTree(t)
	r.plug(0, 0, "1-1.1:1.0", "S1", "front cam")
	r.plug(2, 0, "1-1.2:1.0", "S2", "other cam")
	synctest.Test(t, func(t *testing.T) {
		busy := true
		open := New(r.Roots, func(ctx context.Context, o camera.Options) (camera.Device, error) {
			if busy && o.Source == "v4l2:"+r.node(0) {
				return nil, fmt.Errorf("v4l2: in use by another program: %w", syscall.EBUSY)
			}
			return openStub(ctx, o)
		})
		ctx, cancel := context.WithCancel(t.Context())
		var sources []*camera.Source
		done := make(chan error, 2)
		for _, serial := range []string{"S1", "S2"} {
			s, err := camera.New(camera.Config{Options: camera.Options{Name: serial, Source: "usb:" + serial}, Open: open})
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, s)
			go func() { done <- s.Run(ctx) }()
		}
		time.Sleep(20 * time.Second)
		st, other := sources[0].Stats(), sources[1].Stats()
		if st.State != camera.Reopening || !strings.Contains(st.LastError, "in use by") || st.Reopened < 5 || st.Reopened > 15 || other.Errors != 0 || other.Read < 390 {
			t.Errorf("busy: %+v\nother: %+v", st, other)
		}
		busy = false
		await(t, sources[0], ctx, "video0")
		cancel()
		<-done
		<-done
	})
}

// Without root, the real answer of the kernel.
func TestFault_V10_NoPermission(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may open everything")
	}
	path := filepath.Join(t.TempDir(), "video0")
	if err := os.WriteFile(path, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := explain(path, errors.New("no")); !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
}
