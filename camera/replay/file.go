package replay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"heron/camera"
)

// MaxFileBytes is the limit of a picture file; what exceeds it, or camera.MaxPixels, is refused before any pixel is decoded.
const MaxFileBytes = 64 << 20

// Files reads picture files: jpg, png, bmp, gif (first frame), turned as a JPEG's EXIF orientation says. The zero value uses
// Go's decoders.
type Files struct {
	Decode Decoder // nil: Go's decoders
}

// Read decodes one picture file into f, reusing f.Pix where it is large enough; f.Name becomes the file's base name.
func (p Files) Read(path string, f *camera.Frame) error {
	data, err := readBounded(path)
	if err != nil {
		return err
	}
	if err := p.decode(data, f); err != nil {
		return fmt.Errorf("picture %s: %w", path, err)
	}
	f.Name = filepath.Base(path)
	return nil
}

func (p Files) decode(data []byte, f *camera.Frame) error {
	format, w, h, err := header(data)
	switch {
	case err != nil:
		return err
	case w <= 0 || h <= 0:
		return fmt.Errorf("damaged %s header: its width or height is zero or below", format)
	}
	if err := camera.CheckPixels(w, h); err != nil {
		return err
	}
	switch {
	case p.Decode == nil || format == "gif": // OpenCV reads no gif before 4.11
		return Decode(data, f)
	case format == "jpeg" && cutShort(data): // OpenCV makes grey of what is missing, and Go's decoder says it
		return errors.New("damaged jpeg: it is cut short; copy it again")
	default:
		return p.Decode(data, f)
	}
}

// errNotPicture is what every file gets whose header none of the formats has.
var errNotPicture = errors.New("not a picture that Heron reads (jpg, png, bmp, gif)")

// header tells format and size without decoding pixels.
func header(data []byte) (format string, w, h int, err error) {
	if len(data) >= 26 && data[0] == 'B' && data[1] == 'M' { // Go's decoder knows fewer kinds of bmp than OpenCV's
		w, h := int(int32(binary.LittleEndian.Uint32(data[18:]))), int(int32(binary.LittleEndian.Uint32(data[22:])))
		return "bmp", w, max(h, -h), nil // below zero says that the top row comes first
	}
	c, format, err := image.DecodeConfig(bytes.NewReader(data))
	if errors.Is(err, image.ErrFormat) {
		return "", 0, 0, errNotPicture
	}
	if err != nil {
		return "", 0, 0, fmt.Errorf("damaged %s header: %w", format, err)
	}
	return format, c.Width, c.Height, nil
}

// readBounded reads a whole regular file of at most MaxFileBytes.
func readBounded(path string) ([]byte, error) {
	// Non-blocking, so that a named pipe at this place does not hold us for ever.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("picture %s: no such file: %w", path, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("picture: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("picture: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("picture %s: is a folder, name a file in it", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("picture %s: is not a regular file", path)
	case info.Size() == 0:
		return nil, fmt.Errorf("picture %s: the file is empty", path)
	case info.Size() > MaxFileBytes:
		return nil, fmt.Errorf("picture %s: %d bytes are more than the limit of %d MiB", path, info.Size(), MaxFileBytes>>20)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, fmt.Errorf("picture %s: %w", path, err)
	}
	return data, nil
}
