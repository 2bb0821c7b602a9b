package models

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Pack writes the folder dir as a .tar.zst bundle. The same files give the same bytes wherever and whenever they are packed:
// names sorted, no times, owners or modes. It refuses what Open would refuse.
func Pack(dir string, w io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	defer root.Close()
	if info, err := root.Lstat(manifestName); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("pack %s: it has no %s, so it is no model bundle", dir, manifestName)
	}
	enc, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	tw := tar.NewWriter(enc)
	p := packer{root: root, tw: tw, lim: defaultLimits()}
	err = fs.WalkDir(root.FS(), ".", p.entry) // in lexical order
	if err == nil {
		err = tw.Close()
	}
	if err = errors.Join(err, enc.Close()); err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	return nil
}

type packer struct {
	root  *os.Root
	tw    *tar.Writer
	lim   limits
	files int
	total int64
}

func (p *packer) entry(name string, d fs.DirEntry, err error) error {
	if err != nil || name == "." {
		return err
	}
	if err := checkName(name); err != nil {
		return err
	}
	if d.IsDir() {
		return nil // the files' names say it
	}
	if !d.Type().IsRegular() {
		return fmt.Errorf("%s is a link, a device or another special file; a bundle has plain files only", name)
	}
	return p.file(name)
}

func (p *packer) file(name string) error {
	f, err := p.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p.files++
	p.total += info.Size()
	if p.files > p.lim.files || p.total > p.lim.total {
		return fmt.Errorf("it has more than %d files or %d MiB", p.lim.files, p.lim.total>>20)
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if err := p.tw.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(p.tw, f, info.Size()); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}
