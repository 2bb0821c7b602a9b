package models

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// An archive whose unpacking stops early is still compared with what was signed: it is the model's fault, to be refused, and not a
// transfer that went wrong, to be fetched again and again.
func TestASignedArchiveThatStopsEarlyIsRefused(t *testing.T) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	rest := make([]byte, 1<<20)
	_, _ = rand.Read(rest)
	err = errors.Join(w.WriteHeader(&tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
		w.WriteHeader(&tar.Header{Name: "model.onnx", Typeflag: tar.TypeReg, Size: int64(len(rest)), Mode: 0o644}))
	_, failed := w.Write(rest)
	if err = errors.Join(err, failed, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	s := &store{dir: t.TempDir()}
	sum := sha256.Sum256(b.Bytes())
	o := Offer{Target: "bad/1", Size: int64(b.Len()), SHA256: hex.EncodeToString(sum[:])}
	if err := errors.Join(s.make(), os.WriteFile(s.archive(o.SHA256), b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err = s.verify(context.Background(), o, 4<<20)
	if no := (*Refusal)(nil); !errors.As(err, &no) || no.Check != CheckArchive {
		t.Errorf("%v", err)
	}
}
