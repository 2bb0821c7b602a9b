package models

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// limits bound what an archive may ask of this device.
type limits struct {
	archive int64 // bytes of the archive
	total   int64 // bytes of all files
	files   int
	ratio   int64 // bytes unpacked for a byte of the archive, beyond slack; weights hardly compress
	slack   int64
	window  uint64 // memory of the decoder
}

const (
	maxName  = 100 // bytes of a path: what a plain tar header holds
	maxDepth = 4
)

func defaultLimits() limits {
	return limits{archive: 512 << 20, total: 512 << 20, files: 1024, ratio: 100, slack: 16 << 20, window: 64 << 20}
}

const zstdMagic = "\x28\xb5\x2f\xfd"

// unpack writes the plain files of a .tar.zst into dir, which must be empty. Anything that a bundle has no use for is refused:
// links, devices, odd names, names twice, more than the limits, anything after the end. Files are synced; modes and owners are ours.
func unpack(r io.Reader, dir string, lim limits) error {
	packed := &counter{r: r}
	in := bufio.NewReader(packed)
	if magic, _ := in.Peek(len(zstdMagic)); string(magic) != zstdMagic {
		return errors.New("it is neither a folder nor a .tar.zst archive; name the folder that holds manifest.json, or an archive of it")
	}
	dec, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(lim.window), zstd.WithDecoderMaxMemory(lim.window), zstd.WithDecoderLowmem(true))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer dec.Close()
	return untar(&bounded{r: dec, packed: packed, lim: lim}, dir, lim)
}

// untar does the same for the archive without its compression.
func untar(plain io.Reader, dir string, lim limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	u := unpacker{root: root, lim: lim, seen: map[string]bool{}}
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nothingMore(plain)
		}
		if err != nil {
			return fmt.Errorf("unpack: %w", damaged(err))
		}
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
	}
}

// nothingMore reads to the end, so that the last checksum is checked, and refuses what is hidden there.
func nothingMore(r io.Reader) error {
	block := make([]byte, 32<<10)
	for {
		n, err := r.Read(block)
		if len(bytes.Trim(block[:n], "\x00")) > 0 {
			return errors.New("unpack: something follows the end of the archive")
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack: %w", damaged(err))
		}
	}
}

// limitError is an archive that asks for too much, which is not the same as a damaged one.
type limitError string

func (e limitError) Error() string { return string(e) }

// damaged is what a failed read means, unless a limit stopped it.
func damaged(err error) error {
	var limit limitError
	if errors.As(err, &limit) {
		return limit
	}
	return fmt.Errorf("the archive is damaged: %w", err)
}

// content tells failed reads of the archive from failed writes to the disk.
type content struct{ r io.Reader }

func (c content) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		err = damaged(err)
	}
	return n, err
}

type unpacker struct {
	root  *os.Root
	lim   limits
	seen  map[string]bool
	total int64
}

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if err := checkName(name); err != nil {
		return err
	}
	if u.seen[name] {
		return fmt.Errorf("%s is in the archive twice", name)
	}
	if len(u.seen) >= u.lim.files {
		return fmt.Errorf("the archive has more than %d entries", u.lim.files)
	}
	u.seen[name] = true
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse") { // a few bytes that become as many as they like
			return fmt.Errorf("%s is a sparse file; a bundle has plain files only", name)
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.root.MkdirAll(name, 0o755)
	case tar.TypeReg:
		return u.file(name, h.Size, r)
	}
	return fmt.Errorf("%s is a link, a device or another special file; a bundle has plain files only", name)
}

func (u *unpacker) file(name string, size int64, r io.Reader) error {
	if size < 0 || size > u.lim.total-u.total {
		return fmt.Errorf("the files are larger than %d MiB in all", u.lim.total>>20)
	}
	u.total += size
	if d := path.Dir(name); d != "." {
		if err := u.root.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content{r})
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// checkName takes relative paths of [A-Za-z0-9._-] with at most maxDepth levels and none that is "." or "..".
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("the name %.120q has not 1 to %d characters", name, maxName)
	}
	levels := strings.Split(name, "/")
	if len(levels) > maxDepth {
		return fmt.Errorf("%q has more than %d levels", name, maxDepth)
	}
	for _, l := range levels {
		if l == "" || l == "." || l == ".." || strings.ContainsFunc(l, odd) {
			return fmt.Errorf("the name %q is not allowed: only letters, digits, dot, dash and underscore, and no way out of the bundle", name)
		}
	}
	return nil
}

func odd(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded stops an archive that unpacks to more than it may, in bytes or in proportion.
type bounded struct {
	r      io.Reader
	packed *counter
	lim    limits
	n      int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	headers := int64(b.lim.files+2) * 4096 // of tar itself
	if b.n > b.lim.total+headers || b.n > b.lim.slack+b.lim.ratio*b.packed.n {
		return 0, limitError(fmt.Sprintf("it unpacks to more than %d MiB, or to more than %d times its own size", b.lim.total>>20, b.lim.ratio))
	}
	return n, err
}
