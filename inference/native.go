package inference

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Native is a call into a runtime that another thread may ask to stop.
type Native interface {
	Infer() error
	Stop()  // asks the call under way to end; it may take no notice
	Rearm() // takes Stop back when the call has ended
}

// RunNative is the way in which every engine obeys a context: nothing is begun after its end, a call under way is asked to stop, and the
// context's error is returned where the call failed for it. An answer that was finished all the same is kept.
func RunNative(ctx context.Context, n Native) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		n.Stop()
	})
	err := n.Infer()
	if !stop() {
		<-told
		n.Rearm()
		if err != nil {
			return context.Cause(ctx)
		}
	}
	return err
}

// mostThreads is where classifiers stop to gain: beyond four threads the layers of a MobileNet wait for each other.
const mostThreads = 4

// ThreadsOr is how many threads an engine takes for a model: as many as it is told, else one for each physical core that this process may
// use but one, at most 4. Two threads on one core share its arithmetic unit, which the first keeps busy. The core that is left is the camera's:
// XNNPACK's threads wait for each other busily, and with as many as cores, on two cores under load, the 95th percentile of a run of 7 ms
// rose from 12 to over 90 ms, for a median that was no better. (ONNX Runtime's sleep, unless Model.Spin says otherwise.)
func (m *Model) ThreadsOr() int {
	if m.Threads > 0 {
		return m.Threads
	}
	return max(1, min(mostThreads, runtime.NumCPU()-1, physicalCores("/sys")-1))
}

// physicalCores counts the cores that the kernel shows below a sysfs; as many as there are CPUs where it does not say.
func physicalCores(sysfs string) int {
	cpus, _ := filepath.Glob(filepath.Join(sysfs, "devices/system/cpu/cpu[0-9]*/topology/core_id")) // its only error is a bad pattern
	cores := map[string]bool{}
	for _, path := range cpus {
		core, err := os.ReadFile(path)
		if err != nil {
			continue // a CPU that was taken offline just now
		}
		pack, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "physical_package_id")) // boards without one have one package
		cores[strings.TrimSpace(string(pack))+"/"+strings.TrimSpace(string(core))] = true
	}
	if len(cores) == 0 {
		return runtime.NumCPU()
	}
	return len(cores)
}
