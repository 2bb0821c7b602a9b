package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"heron/sync/repo"
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
	c.Flags().IntVar(&o.TargetsKeys, "targets-keys", 1, "how many targets keys")
	c.Flags().IntVar(&o.TargetsThreshold, "targets-threshold", 1, "how many of them must sign a change of targets")
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
	var o repo.Rotation
	c := &cobra.Command{Use: "rotate ROLE", Short: "Replace, add or remove a key of root, targets or a family; replace that of snapshot or timestamp", Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			if c.Flags().Changed("threshold") && o.Threshold < 1 {
				return usage("rotate: --threshold %d; expected 1 or more", o.Threshold)
			}
			if o.Replace != "" && o.Remove != "" || o.Add && o.Replace+o.Remove != "" {
				return usage("rotate: one of --replace, --add and --remove at a time")
			}
			return a.withRepo(f, func(r *repo.Repo) (repo.Result, error) { return r.Rotate(list[0], o) })
		}}
	c.Flags().StringVar(&o.Replace, "replace", "", "the `key` to exchange for a new one, where the role has several: its name or the beginning of its identity")
	c.Flags().BoolVar(&o.Add, "add", false, "a new key beside the others")
	c.Flags().StringVar(&o.Remove, "remove", "", "the `key` to withdraw")
	c.Flags().IntVar(&o.Threshold, "threshold", 0, "how many keys must sign from now on (default: as many as before)")
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
			if st, err := os.Stat(dir); err != nil || !st.IsDir() {
				return repo.NoRepository(f.dir)
			}
			if _, err := net.ResolveTCPAddr("tcp", listen); err != nil {
				return usage("serve: --listen %q: expected HOST:PORT such as 127.0.0.1:8080", listen)
			}
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
	return repo.Config{Dir: f.dir, Keys: f.keys, DryRun: f.dryRun, Passphrase: a.passphrase(f.phraseFile), Cost: a.keyCost}
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
		fmt.Fprintf(w, "published in %s; upload metadata/timestamp.json after the rest, and a new root after that\n", filepath.Join(f.dir, "public"))
	case res.DryRun:
	case len(res.Missing) > 0 && (res.Missing[0].Role == "snapshot" || res.Missing[0].Role == "timestamp"):
		fmt.Fprintln(w, "staged, with all signatures that people give; it becomes public where those keys are: carry staged/ there, and run: heron fleet repo sign")
	default:
		fmt.Fprintln(w, "staged; nothing is public yet. The other key holders run: heron fleet repo sign --key FILE")
	}
	_, err := io.WriteString(a.out, w.String())
	return err
}
