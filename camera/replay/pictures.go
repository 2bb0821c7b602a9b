package replay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"heron/camera"
)

// pictures is a camera.Device that reads a folder in the order of names, or one file. It is lossless: every picture is handed on once.
type pictures struct {
	files Files
	paths []string
	next  int
	loop  bool
	good  bool // a picture of this round was readable
	seq   uint64
}

func openPictures(o camera.Options, files Files) (camera.Device, error) {
	path, loop, err := camera.ParseRecording(o.Source)
	if err != nil {
		return nil, err
	}
	paths, err := list(path)
	if err != nil {
		return nil, err
	}
	return &pictures{files: files, paths: paths, loop: loop}, nil
}

// list names the pictures of a folder, sorted, or the one file that path is.
func list(path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("pictures: no such folder or file: %s: %w", path, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("pictures: %w", err)
	case !info.IsDir():
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("pictures: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if isPicture(e) {
			paths = append(paths, filepath.Join(path, e.Name()))
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("pictures: folder %s holds no .jpg, .jpeg, .png, .bmp or .gif file", path)
	}
	return paths, nil
}

func isPicture(e fs.DirEntry) bool {
	ext := strings.ToLower(filepath.Ext(e.Name()))
	return !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && slices.Contains([]string{".jpg", ".jpeg", ".png", ".bmp", ".gif"}, ext)
}

// Read decodes the next picture. A broken one is a temporary failure that names it; the one after it is read next.
func (p *pictures) Read(f *camera.Frame) error {
	if p.next == len(p.paths) {
		if !p.loop {
			return io.EOF
		}
		if !p.good {
			return errors.New("pictures: not one of the folder's files is a readable picture")
		}
		p.next, p.good = 0, false
	}
	path := p.paths[p.next]
	p.next++
	if err := p.files.Read(path, f); err != nil {
		return skipped{err}
	}
	p.seq++
	p.good, f.Seq = true, p.seq
	return nil
}

// skipped is a broken picture: an error of its own words that counts as temporary. What lies under it is hidden, because a truncated
// file's io.EOF is not the end of the folder.
type skipped struct{ broken error }

func (s skipped) Error() string { return s.broken.Error() + " (skipped)" }
func (s skipped) Is(target error) bool {
	return target == camera.ErrTemporary || target == camera.ErrDamaged
}

// Lossless says that no picture is passed over.
func (p *pictures) Lossless() bool { return true }

// Close has nothing to free.
func (p *pictures) Close() error { return nil }
