package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"heron/sync/repo"
	"heron/sync/trust"
)

// verified is the answer of heron fleet repo verify.
type verified struct {
	Roles   []verifiedRole `json:"roles"`
	Targets int            `json:"targets"`
	Bytes   int64          `json:"bytes"`
}

type verifiedRole struct {
	Role    string    `json:"role"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
	Days    float64   `json:"days_left"`
}

func (a *app) repoVerify(f *repoFlags) *cobra.Command {
	var base, root string
	c := &cobra.Command{Use: "verify", Short: "Walk the repository as a device would, and check every byte of every target", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if root == "" {
				root = filepath.Join(f.dir, "public", "metadata", "1.root.json")
				if _, err := os.Stat(root); err != nil {
					return repo.NoRepository(f.dir)
				}
			}
			if u, err := url.Parse(base); base != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
				return usage("verify: --url %q: expected https://host/path, below which there are metadata/ and targets/", base)
			}
			v, err := verifyRepo(c.Context(), f.dir, base, root)
			if err != nil {
				if errors.Is(err, trust.ErrNetwork) && base != "" {
					return &codedError{exitUnreachable, err}
				}
				return err
			}
			return a.printVerified(v)
		}}
	c.Flags().StringVar(&base, "url", "", "check what a server has, by its base `URL`, instead of the folder")
	c.Flags().StringVar(&root, "root", "", "the root `file` that devices were given (default: the folder's first)")
	return c
}

// verifyRepo starts from nothing but the root, in a folder of its own that is thrown away.
func verifyRepo(ctx context.Context, dir, base, rootFile string) (v verified, err error) {
	root, err := os.ReadFile(rootFile)
	if err != nil {
		return v, err
	}
	conf := trust.Config{Root: root}
	if base == "" {
		abs, err := filepath.Abs(filepath.Join(dir, "public"))
		if err != nil {
			return v, err
		}
		base, conf.Fetch = (&url.URL{Scheme: "file", Path: abs}).String(), trust.Files{}
	}
	base = strings.TrimRight(base, "/")
	conf.MetadataURL, conf.TargetsURL = base+"/metadata", base+"/targets"
	if conf.Dir, err = os.MkdirTemp("", "heron-verify-*"); err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(conf.Dir)) }()
	c, err := trust.Open(conf)
	if err != nil {
		return v, err
	}
	if err := c.Refresh(ctx); err != nil {
		return v, err
	}
	all, err := c.All(ctx)
	if err != nil {
		return v, err
	}
	for _, t := range all {
		if err := checkTarget(ctx, t); err != nil {
			return v, err
		}
		v.Targets++
		v.Bytes += t.Size
	}
	st := c.State()
	for _, r := range st.Roles {
		v.Roles = append(v.Roles, verifiedRole{r.Name, r.Version, r.Expires, float64(r.Expires.Sub(st.Now).Round(time.Minute)) / float64(24*time.Hour)})
	}
	return v, nil
}

func checkTarget(ctx context.Context, t trust.TargetInfo) error {
	if !strings.HasPrefix(t.URLs[0], "file:") {
		return trust.NewHTTP(nil).Check(ctx, t)
	}
	name, err := trust.FilePath(t.URLs[0])
	if err != nil {
		return err
	}
	if err = trust.Matches(t, name); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("target %s: %s is missing; copy it back there: from the web server, say", t.Path, name)
	}
	return err
}

func (a *app) printVerified(v verified) error {
	if a.json {
		return json.NewEncoder(a.out).Encode(v)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ROLE\tVERSION\tEXPIRES\tDAYS LEFT")
	for _, r := range v.Roles {
		fmt.Fprintf(w, "%s\t%d\t%s\t%.1f\n", r.Role, r.Version, r.Expires.UTC().Format(time.RFC3339), r.Days)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "%d targets, %d bytes: every one is what was signed\n", v.Targets, v.Bytes)
	return err
}
