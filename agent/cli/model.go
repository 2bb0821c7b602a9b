package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"heron/inference"
	"heron/sync/models"
)

const manifestName = "manifest.json"

func (a *app) modelCommand() *cobra.Command {
	c := &cobra.Command{Use: "model", Short: "Model bundles: begin one from a model file, pack, inspect, verify; and the models of this device", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(a.modelInit(), a.modelPack(), a.modelInspect(), a.modelVerify(), a.modelSchema())
	c.AddCommand(a.modelServiceCommands()...)
	return c
}

func (a *app) modelSchema() *cobra.Command {
	return &cobra.Command{Use: "schema", Short: "Print the JSON Schema of manifest.json, for editors and other programs", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.out.Write(inference.ManifestSchema())
			return err
		}}
}

// opened is a bundle that a command reads: the folder, and the archive that it was unpacked from.
type opened struct {
	path   string // as the user named it
	dir    string
	size   int64  // of the archive
	digest string // of the archive; empty for a folder
	close  func()
}

// openBundle unpacks an archive into a folder of its own, which close removes.
func openBundle(path string) (*opened, error) {
	cache, err := os.MkdirTemp("", "heron-model-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the bundle: %w; name one with TMPDIR that can be written", err)
	}
	o := &opened{path: path, close: func() { _ = os.RemoveAll(cache) }}
	if o.dir, err = models.Open(path, cache); err == nil {
		o.dir, err = filepath.Abs(o.dir)
	}
	if err != nil {
		o.close()
		return nil, err
	}
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
		o.size, o.digest = st.Size(), filepath.Base(o.dir)
	}
	return o, nil
}

// said names what the user named, in place of a folder that is gone before the message is read.
func (o *opened) said(err error) error {
	if err == nil || o.digest == "" || !strings.Contains(err.Error(), o.dir) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), o.dir, o.path))
}

// lacks lists what a published bundle must have and this manifest has not.
func lacks(m *inference.Manifest) (missing []string) {
	need := func(ok bool, field string) {
		if !ok {
			missing = append(missing, field)
		}
	}
	need(m.Created != "", "created")
	need(m.Dataset != "", "dataset")
	need(m.Task != "", "task")
	need(m.Thresholds.Default > 0, "thresholds.default")
	need(len(m.Golden) > 0, "golden")
	need(m.Baseline != "", "baseline")
	need(m.Budget != nil && m.Budget.LatencyMS > 0, "budget.latency_ms")
	need(m.Budget != nil && m.Budget.RSSMB > 0, "budget.rss_mb")
	need(len(m.Targets) > 0, "targets")
	return missing
}

// fileDigest is the SHA-256 and size of a plain file below root.
func fileDigest(root *os.Root, name string, w io.Writer) (inference.File, error) {
	st, err := root.Lstat(name)
	if err != nil {
		return inference.File{}, fmt.Errorf("%s: %w", name, underlying(err))
	}
	if !st.Mode().IsRegular() {
		return inference.File{}, fmt.Errorf("%s is a link or a special file; a bundle has plain files only", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return inference.File{}, fmt.Errorf("%s: %w", name, underlying(err))
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, w), f)
	if err != nil {
		return inference.File{}, fmt.Errorf("%s: %w", name, underlying(err))
	}
	return inference.File{Path: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// underlying drops the operation and the path, which the message has already.
func underlying(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}

// meter shows how far a long step is, on a terminal only, and ends it with its context.
type meter struct {
	ctx         context.Context
	out         io.Writer // nil: nobody looks
	step        string
	done, total int64
	shown       int64
}

// largeFiles is from how many bytes on progress is shown.
const largeFiles = 16 << 20

func (a *app) meter(ctx context.Context, total int64) *meter {
	m := &meter{ctx: ctx, total: total}
	if f, ok := a.errOut.(*os.File); ok && term.IsTerminal(int(f.Fd())) && total >= largeFiles && !a.json {
		m.out = a.errOut
	}
	return m
}

func (m *meter) begin(step string) { m.step, m.done, m.shown = step, 0, 0 }

func (m *meter) Write(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	m.done += int64(len(p))
	if m.out != nil && m.done-m.shown >= m.total/100 {
		m.shown = m.done
		fmt.Fprintf(m.out, "\r%s: %d of %d MB\x1b[K", m.step, m.done/1e6, m.total/1e6)
	}
	return len(p), nil
}

func (m *meter) end() {
	if m.out != nil && m.shown > 0 {
		fmt.Fprint(m.out, "\r\x1b[K")
	}
}

// amount is a number of bytes for people.
func amount(n int64) string {
	switch {
	case n >= 10e6:
		return fmt.Sprintf("%.0f MB", float64(n)/1e6)
	case n >= 10e3:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func marshalManifest(m *inference.Manifest) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(m); err != nil {
		return nil, fmt.Errorf("write %s: %w", manifestName, err)
	}
	return []byte(b.String()), nil
}
