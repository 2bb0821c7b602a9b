// Package diag makes what somebody far away needs to understand a device: a small archive of plain files, the same bytes for the same
// content, with every secret taken out, and the newest lines of the log to put in it.
package diag

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Bounds of an archive. It is compressed after that, and is never larger than them and its own heads.
const (
	maxFile   = 1 << 20
	maxAll    = 8 << 20
	maxName   = 100
	maxSecret = 4 << 10 // bytes of the longest
)

// File is one member.
type File struct {
	Name string
	Body []byte
}

// Entry is one line of an archive's list.
type Entry struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// Pack writes files as a .tar.gz, by name, without times or owners. Each is searched for secrets first. What is too large is cut, and says so.
func Pack(w io.Writer, files []File, hide *Secrets) error {
	return pack(w, files, hide, maxFile, maxAll)
}

// pack is Pack with bounds of a file and of all.
func pack(w io.Writer, files []File, hide *Secrets, most, left int) error {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	zw := gzip.NewWriter(w)
	tw := tar.NewWriter(zw)
	for _, f := range files {
		if len(f.Name) > maxName {
			return fmt.Errorf("support bundle: the name %.40q… is too long", f.Name)
		}
		few := f.Body[:min(len(f.Body), min(most, left)+maxSecret)] // a secret at the cut is whole when it is looked for
		body := cut(hide.Hide(few), min(most, left))
		left -= len(body)
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Size: int64(len(body)), Mode: 0o644, Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("support bundle: %s: %w", f.Name, err)
		}
		if _, err := tw.Write(body); err != nil {
			return fmt.Errorf("support bundle: %s: %w", f.Name, err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		return fmt.Errorf("support bundle: %w", err)
	}
	return nil
}

// cut keeps the first bytes of b.
func cut(b []byte, most int) []byte {
	const note = "\n… the rest is cut\n"
	if len(b) <= most {
		return b
	}
	return append(b[:max(0, most-len(note)):max(0, most-len(note))], note[:min(len(note), most)]...)
}

// List reads what is in an archive. It ends at the bounds of Pack.
func List(r io.Reader) ([]Entry, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("support bundle: %w", err)
	}
	list := []Entry{}
	for tr := tar.NewReader(io.LimitReader(zr, 2*maxAll)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("support bundle: %w", err)
		}
		list = append(list, Entry{h.Name, h.Size})
	}
}
