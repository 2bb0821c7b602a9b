package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"heron/sync/repo"
	"heron/sync/trust"
)

// passphraseMax bounds a passphrase file, bytes.
const passphraseMax = 4096

// repoFlags are what all commands of the repository share.
type repoFlags struct {
	dir, phraseFile string
	keys            []string
	dryRun          bool
}

func (a *app) fleetRepoCommand() *cobra.Command {
	c := &cobra.Command{Use: "repo", Short: "The signed repository of models: keys, bundles, expiry", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	f := &repoFlags{}
	c.PersistentFlags().StringVar(&f.dir, "repo", "heron-repo", "the repository's `folder`")
	c.PersistentFlags().StringVar(&f.phraseFile, "passphrase-file", "", "read the passphrase from a `file` (its first line) instead of the terminal")
	c.PersistentFlags().StringArrayVar(&f.keys, "key", nil, "a key `file` that is not in the folder's keys/; may be repeated")
	c.PersistentFlags().BoolVar(&f.dryRun, "dry-run", false, "say what would be done; write nothing, ask for no passphrase")
	c.AddCommand(a.repoInit(f), a.repoAdd(f), a.repoSign(f), a.repoRotate(f), a.repoRefresh(f), a.repoServe(f), a.repoVerify(f))
	return c
}

func (a *app) repoInit(f *repoFlags) *cobra.Command {
	o := repo.InitOptions{Expiry: repo.DefaultExpiry()}
	days := func(c *cobra.Command, p *time.Duration, name, what string) {
		c.Flags().DurationVar(p, name, *p, "how long the signature of "+what+" lasts")
	}
	c := &cobra.Command{Use: "init", Short: "Make keys and an empty repository (the ceremony: docs/operations/repository.md)", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			res, err := repo.Init(a.repoConfig(f), o)
			if err != nil {
				return err
			}
			return a.printRepo(f, res)
		}}
	c.Flags().IntVar(&o.RootKeys, "root-keys", 3, "how many root keys")
	c.Flags().IntVar(&o.Threshold, "threshold", 2, "how many of them must sign a change of root")
	days(c, &o.Expiry.Root, "root-expires", "root")
	days(c, &o.Expiry.Targets, "targets-expires", "targets and the families")
	days(c, &o.Expiry.Snapshot, "snapshot-expires", "snapshot")
	days(c, &o.Expiry.Timestamp, "timestamp-expires", "timestamp")
	return c
}

func (a *app) repoSign(f *repoFlags) *cobra.Command {
	var discard bool
	c := &cobra.Command{Use: "sign", Short: "Add your signature to what waits for more than one; publishes it when they are enough", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return a.withRepo(f, func(r *repo.Repo) (repo.Result, error) {
				if discard {
					return r.Discard()
				}
				return r.Sign()
			})
		}}
	c.Flags().BoolVar(&discard, "discard", false, "drop what waits instead")
	return c
}

func (a *app) repoRotate(f *repoFlags) *cobra.Command {
	var replace string
	c := &cobra.Command{Use: "rotate ROLE", Short: "Replace a key of root, targets, snapshot, timestamp or a family", Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			return a.withRepo(f, func(r *repo.Repo) (repo.Result, error) { return r.Rotate(list[0], replace) })
		}}
	c.Flags().StringVar(&replace, "replace", "", "the `key` to replace, where the role has several: its name or the beginning of its identity")
	return c
}

func (a *app) repoRefresh(f *repoFlags) *cobra.Command {
	return &cobra.Command{Use: "refresh [ROLE]...", Short: "Sign timestamp (and snapshot when due, and the roles named) anew before they expire", Args: args(cobra.ArbitraryArgs),
		RunE: func(_ *cobra.Command, list []string) error {
			return a.withRepo(f, func(r *repo.Repo) (repo.Result, error) { return r.Refresh(list) })
		}}
}

func (a *app) repoServe(f *repoFlags) *cobra.Command {
	var listen string
	c := &cobra.Command{Use: "serve", Short: "Serve the public folder over HTTP, for a trial", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			dir := filepath.Join(f.dir, "public")
			if f.dryRun {
				return a.say(map[string]any{"dry_run": true, "listen": listen, "folder": dir}, "would serve %s on %s\n", dir, listen)
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			at := "http://" + l.Addr().String()
			if err := a.say(map[string]any{"metadata": at + "/metadata", "targets": at + "/targets"}, "metadata %s/metadata\ntargets  %s/targets\n", at, at); err != nil {
				return errors.Join(err, l.Close())
			}
			return repo.Serve(c.Context(), l, dir)
		}}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "`address`")
	return c
}

// say prints v as JSON, or the text for people.
func (a *app) say(v any, format string, args ...any) error {
	if a.json {
		return json.NewEncoder(a.out).Encode(v)
	}
	_, err := fmt.Fprintf(a.out, format, args...)
	return err
}

func (a *app) repoConfig(f *repoFlags) repo.Config {
	return repo.Config{Dir: f.dir, Keys: f.keys, DryRun: f.dryRun, Passphrase: a.passphrase(f.phraseFile)}
}

func (a *app) withRepo(f *repoFlags, do func(*repo.Repo) (repo.Result, error)) error {
	r, err := repo.Open(a.repoConfig(f))
	if err != nil {
		return err
	}
	res, err := do(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	return a.printRepo(f, res)
}

// passphrase reads from the file, or from a terminal that shows nothing. Never from arguments or the environment: others can read those.
func (a *app) passphrase(file string) repo.Passphrase {
	return func(key string, fresh bool) ([]byte, error) {
		if file != "" {
			return firstLineOf(file)
		}
		tty, ok := a.in.(*os.File)
		if !ok || !term.IsTerminal(int(tty.Fd())) {
			return nil, usage("the passphrase of %s: there is no terminal to ask on; give --passphrase-file", key)
		}
		ask := func(prompt string) ([]byte, error) {
			fmt.Fprint(a.errOut, prompt)
			phrase, err := term.ReadPassword(int(tty.Fd()))
			fmt.Fprintln(a.errOut)
			return phrase, err
		}
		phrase, err := ask("passphrase of " + key + ": ")
		if err != nil || !fresh {
			return phrase, err
		}
		again, err := ask("once more: ")
		if err == nil && !bytes.Equal(phrase, again) {
			err = errors.New("the two are not the same")
		}
		return phrase, err
	}
}

func firstLineOf(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() && st.Mode()&fs.FileMode(0o077) != 0 {
		return nil, usage("%s can be read by others; chmod 600 it", file)
	}
	line, err := bufio.NewReader(io.LimitReader(f, passphraseMax)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

func (a *app) printRepo(f *repoFlags, res repo.Result) error {
	if a.json {
		return json.NewEncoder(a.out).Encode(res)
	}
	verb := "changed  "
	if res.DryRun {
		verb = "would change"
	}
	w := &strings.Builder{}
	for _, k := range res.NewKeys {
		fmt.Fprintf(w, "new key  %s\n", k)
	}
	if len(res.Changed) > 0 {
		fmt.Fprintf(w, "%s %s\n", verb, strings.Join(res.Changed, ", "))
	}
	for _, n := range res.Notes {
		fmt.Fprintln(w, n)
	}
	for _, m := range res.Missing {
		fmt.Fprintf(w, "%s needs %d more of: %s\n", m.Role, m.Need, strings.Join(m.From, ", "))
	}
	switch {
	case res.Note != "":
		fmt.Fprintln(w, res.Note)
	case res.Published:
		fmt.Fprintf(w, "published in %s; upload metadata/timestamp.json last\n", filepath.Join(f.dir, "public"))
	case !res.DryRun:
		fmt.Fprintln(w, "staged; nothing is public yet. The other key holders run: heron fleet repo sign --key FILE")
	}
	_, err := io.WriteString(a.out, w.String())
	return err
}

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
	return trust.Matches(t, name)
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
