package delta

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"sort"
)

// Part is one file of the old version. Who hands it in keeps it open and closes it.
type Part struct {
	io.ReaderAt
	Size int64
}

// Join lays parts end to end, in the order given, as what Make got as one piece. It returns the sum of their sizes too.
func Join(parts ...Part) (io.ReaderAt, int64) {
	j := joined{parts: parts}
	var end int64
	for _, p := range parts {
		end += p.Size
		j.ends = append(j.ends, end)
	}
	return j, end
}

type joined struct {
	parts []Part
	ends  []int64
}

func (j joined) ReadAt(b []byte, off int64) (n int, err error) {
	for i := sort.Search(len(j.ends), func(i int) bool { return j.ends[i] > off }); i < len(j.parts) && n < len(b); i++ {
		start := j.ends[i] - j.parts[i].Size
		piece := b[n:min(int64(len(b)), int64(n)+j.ends[i]-off)]
		m, err := j.parts[i].ReadAt(piece, off-start)
		n, off = n+m, off+int64(m)
		if m < len(piece) {
			return n, err
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// File is one file of the new version, as the signed manifest names it.
type File struct {
	Path   string
	Size   int64  // bytes
	SHA256 string // 64 hex digits
}

// ApplyFiles is Apply for a version of many files: the patch is one for all, made from them laid end to end in the order of files, and each is
// handed to the writer that create gives, checked against its own size and digest, and closed, one after the other. At an error the file
// under way is closed too and nothing is to be used; create's caller removes what there is. create must sync in its Close if it wants that.
func ApplyFiles(old io.ReaderAt, oldSize int64, patch io.Reader, files []File, create func(File) (io.WriteCloser, error)) (err error) {
	var size int64
	for _, f := range files {
		if f.Size < 0 || size+f.Size < size {
			return fmt.Errorf("apply a patch: %s has size %d", f.Path, f.Size)
		}
		size += f.Size
	}
	s := splitter{files: files, create: create}
	if err := apply(old, oldSize, patch, &s, size); err != nil {
		return s.abandon(err)
	}
	return s.abandon(s.fill(0)) // empty files at the end
}

// splitter cuts what is written to it into files.
type splitter struct {
	files  []File
	create func(File) (io.WriteCloser, error)
	out    io.WriteCloser // of files[0]; nil: not begun
	sum    hash.Hash
	done   int64
}

func (s *splitter) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if err := s.fill(1); err != nil {
			return n, err
		}
		piece := b[n:min(int64(len(b)), int64(n)+s.files[0].Size-s.done)]
		m, err := s.out.Write(piece)
		s.sum.Write(piece[:m])
		n, s.done = n+m, s.done+int64(m)
		if err != nil {
			return n, fmt.Errorf("%s: %w", s.files[0].Path, err)
		}
	}
	return n, nil
}

// fill ends the files that are complete and begins the next one with room for n bytes, if there is one.
func (s *splitter) fill(n int64) error {
	for len(s.files) > 0 {
		if s.out == nil {
			out, err := s.create(s.files[0])
			if err != nil {
				return fmt.Errorf("%s: %w", s.files[0].Path, err)
			}
			s.out, s.sum, s.done = out, sha256.New(), 0
		}
		if s.done < s.files[0].Size {
			return nil
		}
		if err := s.end(); err != nil {
			return err
		}
	}
	if n > 0 {
		return fmt.Errorf("%w: it makes more than the files of the new version", ErrPatch)
	}
	return nil
}

func (s *splitter) end() error {
	f := s.files[0]
	err := s.out.Close()
	s.out, s.files = nil, s.files[1:]
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	want, err := hex.DecodeString(f.SHA256)
	if err != nil || len(want) != sha256.Size {
		return fmt.Errorf("%s: %q is not a SHA-256 digest of 64 hex digits", f.Path, f.SHA256)
	}
	if err := sameDigest(s.sum, want); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// abandon closes the file under way.
func (s *splitter) abandon(err error) error {
	if s.out != nil {
		s.out.Close()
		s.out = nil
	}
	return err
}
