package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/agent/diag"
)

// diagWithin bounds the making of a support bundle; mostArchive is far above what one can have.
const (
	diagWithin  = 2 * time.Minute
	mostArchive = 32 << 20
)

func (a *app) diagCommand() *cobra.Command {
	path := ""
	c := &cobra.Command{Use: "diag", Short: "Make a support bundle: state, settings without secrets, log, machine", Args: args(cobra.NoArgs),
		Long: "Asks the running service for a support bundle, a .tar.gz of plain files at most 8 MiB large, and keeps it here. Passwords, tokens and logins are taken out.\n" +
			"Where no service runs, it is made of what can be read: as root, the system's log is part of it.\n" +
			"heron fleet cmd DEVICE diag --arg url=https://… has a device send the same.",
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), diagWithin)
			defer cancel()
			return a.diag(ctx, path)
		}}
	c.Flags().StringVarP(&path, "output", "o", "", "`file` to write (default: heron-diag-TIME.tar.gz in this folder)")
	return c
}

func (a *app) diag(ctx context.Context, path string) error {
	if path == "" {
		path = "heron-diag-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
	}
	l, why := a.service()
	var archive []byte
	if why == nil {
		archive, why = l.diag(ctx)
	}
	live := why == nil
	switch {
	case live:
	case errors.Is(why, fs.ErrPermission): // it runs, and has more to say than could be read here
		return why
	default:
		var b bytes.Buffer
		conf := (*agent.Config)(nil)
		if l != nil {
			conf = l.conf
		}
		if err := agent.Support(ctx, &b, conf, a.configPath, Version(), why); err != nil {
			return err
		}
		archive = b.Bytes()
	}
	list, err := diag.List(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, archive, 0o600); err != nil {
		return fmt.Errorf("diag: %w; name another file with -o", err)
	}
	return a.printDiag(path, len(archive), live, why, list)
}

func (a *app) printDiag(path string, size int, live bool, why error, list []diag.Entry) error {
	if a.json {
		return json.NewEncoder(a.out).Encode(map[string]any{"file": path, "bytes": size, "live": live, "files": list})
	}
	if !live {
		fmt.Fprintf(a.errOut, "heron: no running service was asked (%v); this is what can be read without one\n", why)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, e := range list {
		fmt.Fprintf(w, "%s\t%d\n", e.Name, e.Size)
	}
	fmt.Fprintf(w, "%s: %s, %d bytes\n", path, plural(len(list), "file"), size)
	return w.Flush()
}

// diag asks the service for the archive.
func (l *serviceLink) diag(ctx context.Context) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://heron/v1/diag", nil)
	if err != nil {
		return nil, err
	}
	resp, err := l.client.Do(r)
	if err != nil {
		return nil, l.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, mostArchive))
	if err != nil {
		return nil, fmt.Errorf("the service's answer broke off: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		e := &agent.ControlError{}
		if err := json.Unmarshal(b, e); err != nil || e.Text == "" {
			return nil, fmt.Errorf("the service answered HTTP %s and no reason", resp.Status)
		}
		return nil, e
	}
	return b, nil
}
