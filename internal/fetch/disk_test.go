package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFault_S7_DiskFull(t *testing.T) {
	data := random(1 << 20)
	o := &object{data: data}
	url := serve(t, o)
	c := client(t, nil, url)
	dir := mounted(t, "size=512k")
	r := Request{URLs: []string{url}, Path: dir + "/model", Size: 1 << 20, SHA256: sum(data)}
	var space *SpaceError
	err := c.File(limit(t), r)
	if !errors.As(err, &space) || space.Need != 1<<20 || space.Free <= 0 || space.Free > 512<<10 || space.Inodes {
		t.Errorf("got %v, %+v", err, space)
	}
	if err == nil || !strings.Contains(err.Error(), "1048576") || !strings.Contains(err.Error(), fmt.Sprint(space.Free)) {
		t.Errorf("no numbers: %v", err)
	}
	only(t, r)
	if n := len(o.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	small := r
	small.Size = 100 << 10
	o.set(data[:100<<10], "")
	small.SHA256 = sum(data[:100<<10])
	keeping := client(t, func(c *Config) { c.KeepFree = 450 << 10 }, url)
	if err := keeping.File(limit(t), small); !errors.As(err, &space) || space.Keep != 450<<10 {
		t.Errorf("got %v", err)
	}
	only(t, r)
	if err := c.File(limit(t), small); err != nil {
		t.Error(err)
	}
	arrived(t, small, data[:100<<10])
}

func TestFault_S7_NoInodes(t *testing.T) {
	for inodes := 2; inodes <= 3; inodes++ { // the root has one: none, or one, for us
		o := &object{data: random(1000)}
		url := serve(t, o)
		c := client(t, nil, url)
		dir := mounted(t, fmt.Sprintf("size=4m,nr_inodes=%d", inodes))
		if inodes == 2 {
			write(t, dir+"/other", nil)
		}
		r := Request{URLs: []string{url}, Path: dir + "/model", Size: 1000, SHA256: sum(o.data)}
		var space *SpaceError
		err := c.File(limit(t), r)
		if inodes == 3 { // room for two
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.As(err, &space) || !space.Inodes || !strings.Contains(err.Error(), "no inode left") {
			t.Errorf("%d: %v", inodes, err)
		}
		only(t, r, "other")
		if n := len(o.requests()); n != 0 {
			t.Errorf("%d requests", n)
		}
	}
}

func TestFault_U12_SpaceIsReservedAndTheOldStays(t *testing.T) {
	data := random(1 << 20)
	o := &object{data: data, etag: `"1"`}
	url := serve(t, o)
	c := client(t, nil, url)
	dir := mounted(t, "size=3m")
	r := Request{URLs: []string{url}, Path: dir + "/model", Size: 1 << 20, SHA256: sum(data)}
	write(t, r.Path, []byte("the old one"))
	filled := false
	r.Progress = func(done, _ int64) { // somebody takes all that is left while the file is under way
		if done > 100_000 && !filled {
			filled = true
			f, err := os.Create(dir + "/hog")
			if err == nil {
				_, err = f.Write(make([]byte, 4<<20))
				f.Close()
			}
			if err == nil {
				t.Error("the disk is not full")
			}
		}
	}
	if err := c.File(limit(t), r); err != nil {
		t.Fatal("with the space reserved:", err)
	}
	if got, err := os.ReadFile(r.Path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}

	// and where it cannot be had any more, the one in place stays
	bigger := random(2 << 20)
	o.set(bigger, `"2"`)
	r.Size, r.SHA256, r.Progress = 2<<20, sum(bigger), nil
	var space *SpaceError
	if err := c.File(limit(t), r); !errors.As(err, &space) {
		t.Errorf("got %v", err)
	}
	if got, err := os.ReadFile(r.Path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	only(t, r, "hog", "model")
}

// mounted gives a folder on a small file system of its own.
func mounted(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("a small file system cannot be mounted here (%v): needs root", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}
