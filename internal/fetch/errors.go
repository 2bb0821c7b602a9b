package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"time"
)

// What a caller can tell apart with errors.Is. All but ErrBusy are about a server; when there are several, every one had its reason.
var (
	ErrPortal   = errors.New("a login page or another middle box answers instead of the server")
	ErrRedirect = errors.New("the server sends us to a place that is not allowed")
	ErrStalled  = errors.New("the server sends too slowly or nothing")
	ErrDigest   = errors.New("the file is complete and has another digest than the signed one")
	ErrSize     = errors.New("the file on the server has another size than the signed one")
	ErrChanging = errors.New("the transfer had to begin anew too often")
	ErrBusy     = errors.New("another process or call is fetching this file")
)

// StatusError is an answer that is not the file.
type StatusError struct{ Code int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answers %d %s", e.Code, http.StatusText(e.Code))
}

// Is makes it fs.ErrNotExist where the server has no such file. 403 is what an object store says that hides what it has.
func (e *StatusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.Code == http.StatusNotFound || e.Code == http.StatusForbidden || e.Code == http.StatusGone)
}

// BudgetError: the budget allows nothing now. What is fetched stays; try again in Wait, or when the budget says so if it is 0.
type BudgetError struct {
	Wait time.Duration
	Why  string // for people: what is spent or closed, and when it goes on
}

func (e *BudgetError) Error() string {
	switch {
	case e.Why != "":
		return e.Why
	case e.Wait <= 0:
		return "the budget of bytes is spent"
	}
	return fmt.Sprintf("the budget of bytes allows nothing for another %v", e.Wait.Round(time.Second))
}

// SpaceError: the disk cannot take the file. Nothing was asked of a server, and nothing is left of it on the disk.
type SpaceError struct {
	Path             string
	Need, Keep, Free int64 // bytes: for the file, to stay free beside it, free now
	Inodes           bool  // it is names that are used up, not bytes
	Err              error // of the system, where it was the one to refuse
}

func (e *SpaceError) Error() string {
	if e.Inodes {
		return fmt.Sprintf("no room for %s: the file system has no inode left (needs 2, has 0)", e.Path)
	}
	return fmt.Sprintf("no room for %s: it needs %d bytes and %d must stay free, there are %d", e.Path, e.Need, e.Keep, e.Free)
}

func (e *SpaceError) Unwrap() error { return e.Err }

// How bad an error is.
const (
	again  = iota // another try may help, here or at the next mirror
	mirror        // not at this mirror
	end           // nowhere: it is our disk, our budget, our context
)

// fault is an error with its consequence.
type fault struct {
	kind  int
	err   error
	after time.Duration // that the server asks us to wait
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func struck(err error) error { return &fault{kind: mirror, err: err} }
func ended(err error) error  { return &fault{kind: end, err: err} }

// judge turns any error of a try into a fault.
func judge(ctx context.Context, err error) *fault {
	var ue *url.Error
	if errors.As(err, &ue) { // its text holds the URL with its query
		err = ue.Err
	}
	var f *fault
	var host x509.HostnameError
	var record tls.RecordHeaderError
	var verify *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		return &fault{kind: end, err: context.Cause(ctx)}
	case errors.As(err, &f):
		return f
	case errors.As(err, &host), errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return &fault{kind: mirror, err: fmt.Errorf("%w: %w", ErrPortal, err)}
	case errors.As(err, &verify):
		return &fault{kind: mirror, err: fmt.Errorf("%w; the clock may be wrong, the authority not configured, or a middle box in between", err)}
	}
	return &fault{kind: again, err: sameAgain(err)}
}

// sameAgain is err without the port that our end of the connection had: it is of no use to people, and with it each try would end with a
// reason of its own, to be reported anew.
func sameAgain(err error) error {
	var lookup *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &lookup) && lookup.IsTimeout:
		return fmt.Errorf("no answer in time from the name server %s about %s", lookup.Server, lookup.Name)
	case errors.As(err, &op) && (op.Op == "read" || op.Op == "write") && op.Source != nil:
		return op.Err // it says read or write, too
	}
	return err
}
