package inference

import (
	"errors"
	"fmt"
	"strings"
)

// Status is what can be said of an engine on this machine without a model. A model proves the rest.
type Status struct {
	Engine   string // as manifests and configurations name it
	Device   string // "cpu", "gpu", "ncs2"; the devices' own names where there may be several
	Present  bool   // the hardware is there, as far as can be seen
	Usable   bool   // … and its library and driver
	Version  string // of the library, where it could be opened
	Reason   string // why it is not usable; one line
	NextStep string // what to do; one line
}

// Because is the status of an engine that an error keeps from being used, or of a usable one where there is none.
func (s Status) Because(err error) Status {
	s.Usable, s.Reason, s.NextStep = err == nil, "", ""
	if err != nil {
		s.Reason = err.Error()
	}
	if r := (*Refusal)(nil); errors.As(err, &r) {
		s.Reason, s.NextStep = r.What, r.NextStep
	}
	return s
}

// String is one line for logs.
func (s Status) String() string {
	if s.Usable {
		return fmt.Sprintf("%s: usable, version %s", s.Engine, s.Version)
	}
	return fmt.Sprintf("%s: %s; %s", s.Engine, s.Reason, s.NextStep)
}

// Unavailable is the refusal of an engine whose library or device is not here, or not to be had now.
func Unavailable(next, format string, args ...any) *Refusal {
	r := Refuse(CodeUnavailable, next, format, args...)
	r.Err = ErrUnavailable
	return r
}

// InFile puts a file's name in front of a refusal of it. A device that is not there is not the file's fault.
func InFile(file string, err error) error {
	r := (*Refusal)(nil)
	if !errors.As(err, &r) {
		return fmt.Errorf("%s: %w", file, err)
	}
	if r.Code == CodeUnavailable || strings.HasPrefix(r.What, file+": ") {
		return r
	}
	return &Refusal{Code: r.Code, What: file + ": " + r.What, NextStep: r.NextStep, Err: r}
}
