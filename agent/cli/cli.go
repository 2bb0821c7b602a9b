// Package cli is heron's command line: each command in a file of its own, errors turned into one line and an exit code.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/sync/outbox"
	"heron/sync/repo"
)

// Exit codes, as docs/interface.md promises.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2 // usage or configuration
	exitUnreachable = 3
)

// codedError is an error with an exit code of its own.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

// app is what the commands share.
type app struct {
	in          io.Reader
	out, errOut io.Writer
	configPath  string
	json        bool
	keyCost     int // of new keys' passphrases, as a power of two; 0: what package repo takes
}

// Main runs one command line and returns the exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	return (&app{in: in, out: out, errOut: errOut}).main(args)
}

func (a *app) main(args []string) int {
	args = asPlugin(os.Args[0], args)
	if len(args) > 0 && args[0] == outbox.SalvageArg { // the outbox's child: reads a damaged file where a crash hurts nobody
		return outbox.SalvageMain(args[1:])
	}
	// Of the 25 MB that the service may take, most is the runtime's slack between collections; a small heap collected often is cheaper than memory here.
	debug.SetGCPercent(50)
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	defer stop()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errOut)
	return a.code(root.ExecuteContext(ctx))
}

// endings are the signals upon which a command leaves in order. A terminal that is closed is one, but not for what nohup has begun.
func endings() []os.Signal {
	s := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		s = append(s, syscall.SIGHUP)
	}
	return s
}

// code prints err as one line and picks the exit code.
func (a *app) code(err error) int {
	if err == nil {
		return exitOK
	}
	var coded *codedError
	var conf *agent.ConfigError
	var misuse *repo.Misuse
	if msg := err.Error(); msg != "" {
		fmt.Fprintln(a.errOut, "heron:", strings.TrimSpace(msg))
	}
	switch {
	case errors.As(err, &conf):
		if conf.Excerpt != "" {
			fmt.Fprintln(a.errOut, strings.TrimRight(conf.Excerpt, "\n"))
		}
		return exitUsage
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &misuse):
		return exitUsage
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "heron",
		Short: "Edge agent for on-device ML: camera frames in, classified here, kept through outages, delivered",
		Long: "Heron captures camera frames, classifies them on this device, keeps the results while there is no link, and delivers them over MQTT.\n" +
			"Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not reachable.",
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&a.configPath, "config", agent.DefaultPath, "configuration `file`")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "answer in JSON")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage("%v; see %s --help", err, c.CommandPath()) })
	root.AddCommand(a.runCommand(), a.demoCommand(), a.checkCommand(), a.classifyCommand(), a.statusCommand(), a.outboxCommand(), a.accelCommand(), a.cameraCommand(), a.fleetCommand(), a.modelCommand(), a.diagCommand(), a.tePluginCommand(), a.versionCommand(), a.completionCommand())
	root.RunE = func(c *cobra.Command, args []string) error { return c.Help() }
	root.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage("there is no command %q; see heron --help", args[0])
		}
		return nil
	}
	return root
}

// args turns cobra's complaint about arguments into a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, list []string) error {
		if err := check(c, list); err != nil {
			return usage("%s: %v; see %s --help", c.Name(), err, c.CommandPath())
		}
		return nil
	}
}
