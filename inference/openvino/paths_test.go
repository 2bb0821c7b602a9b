package openvino

// env is an environment of its own.
func env(m map[string]string) func(string) string {
	return func(k string) string { return m[k] }
}
