package domain

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// about makes a finding of a category with one key fact.
func about(category, key, value string) Finding {
	return Finding{Category: category, Remedy: RemedyHuman, Job: "test (3.11)", Step: "Run pytest", Keys: []string{key}, Facts: map[string]string{key: value}}
}

// said makes a finding whose log named none of its keys.
func said(text string) Finding {
	return Finding{Category: "test-failure", Remedy: RemedyHuman, Job: "test (3.11)", Step: "Run pytest", Keys: []string{"tests"}, Text: text}
}

func in(category, job, step string) Finding {
	return Finding{Category: category, Remedy: RemedyHuman, Job: job, Step: step, Keys: []string{KeyPlace}}
}

// TestFingerprintsOfOneFailureAreEqual renders one failure as different runs,
// branches, machines and legs do.
func TestFingerprintsOfOneFailureAreEqual(t *testing.T) {
	t.Parallel()
	for name, same := range map[string][]Finding{
		"checkouts": {
			about("code-error", "file", "/home/runner/work/shop/shop/src/train.py"), about("code-error", "file", `D:\a\shop\shop\src\train.py`),
			about("code-error", "file", "/Users/runner/work/shop/shop/src/train.py"), about("code-error", "file", "/github/workspace/src/train.py"),
			about("code-error", "file", "/__w/shop/shop/src/train.py"), about("code-error", "file", "/opt/actions-runner/_work/shop/shop/src/train.py"),
			about("code-error", "file", "src/train.py"), about("code-error", "file", "./src/train.py"), about("code-error", "file", `src\train.py`),
			about("code-error", "file", `E:\actions\_work\shop\shop\src\train.py`),
		},
		"installed packages": {
			about("api-change", "file", "/opt/hostedtoolcache/Python/3.11.9/x64/lib/python3.11/site-packages/pandas/core/frame.py"),
			about("api-change", "file", "/opt/hostedtoolcache/Python/3.12.1/x64/lib/python3.12/site-packages/pandas/core/frame.py"),
			about("api-change", "file", "/home/runner/work/a/a/.venv/lib/python3.10/site-packages/pandas/core/frame.py"),
			about("api-change", "file", `C:\hostedtoolcache\windows\Python\3.11.9\x64\Lib\site-packages\pandas\core\frame.py`),
			about("api-change", "file", "/usr/lib/python3/dist-packages/pandas/core/frame.py"),
		},
		"the standard library": {
			about("api-change", "file", "/opt/hostedtoolcache/Python/3.11.9/x64/lib/python3.11/importlib/__init__.py"),
			about("api-change", "file", "/usr/lib/python3.12/importlib/__init__.py"),
			about("api-change", "file", `C:\hostedtoolcache\windows\Python\3.11.9\x64\lib\importlib\__init__.py`),
		},
		"tools": {
			about("missing-executable", "command", "/opt/hostedtoolcache/Python/3.11.9/x64/bin/dvc"), about("missing-executable", "command", "/Users/runner/hostedtoolcache/Python/3.12.0/arm64/bin/dvc"),
		},
		"homes": {
			about("config-missing", "file", "/home/runner/.kaggle/kaggle.json"), about("config-missing", "file", "/root/.kaggle/kaggle.json"),
			about("config-missing", "file", `C:\Users\runneradmin\.kaggle\kaggle.json`), about("config-missing", "file", "/Users/runner/.kaggle/kaggle.json"),
		},
		"temporary files": {
			about("data-missing", "path", "/tmp/tmpab12cd_9/model.bin"), about("data-missing", "path", "/var/tmp/tmpzzzzzzzz/model.bin"),
			about("data-missing", "path", "/private/var/folders/x7/ch5v91h56_zbvbd1y2f600dm0000gn/T/tmp0a1b2c3d/model.bin"),
			about("data-missing", "path", `C:\Users\RUNNER~1\AppData\Local\Temp\tmpq_w1e2r3\model.bin`),
			about("data-missing", "path", "/home/runner/work/_temp/tmpq_w1e2r3/model.bin"), about("data-missing", "path", `D:\a\_temp\tmpq_w1e2r3\model.bin`),
		},
		"pytest's directories": {
			about("data-missing", "path", "/tmp/pytest-of-runner/pytest-12/test_a0/x.csv"), about("data-missing", "path", "/tmp/pytest-of-root/pytest-0/test_a0/x.csv"),
		},
		"pip's directories": {
			about("wheel-build-failed", "package", "/tmp/pip-install-ab12cd_x/horovod"), about("wheel-build-failed", "package", "/tmp/pip-install-qwertyui/horovod"),
		},
		"scripts of steps": {
			about("code-error", "file", "/home/runner/work/_temp/0c2a4bd1-6a5f-4a11-9a94-2f1f6d7b8c90.sh"), about("code-error", "file", "/home/runner/work/_temp/ffffffff-6a5f-4a11-9a94-2f1f6d7b8c91.sh"),
		},
		"notebooks": {
			about("code-error", "file", "/tmp/ipykernel_2711/1893847561.py"), about("code-error", "file", "/tmp/ipykernel_98/77.py"),
		},
		"addresses and hashes": {
			about("data-schema", "column", "<object at 0x7f3a2c1b9d30>"), about("data-schema", "column", "<object at 0x55d0aa12>"),
		},
		"images by commit": {
			about("container-image-not-found", "image", "ghcr.io/acme/train:1a2b3c4"), about("container-image-not-found", "image", "ghcr.io/acme/train:ffee00aa11bb22cc33dd44ee55ff66aa77bb88cc"),
		},
		"images by digest": {
			about("container-image-not-found", "image", "acme/train@sha256:"+strings.Repeat("a1", 32)), about("container-image-not-found", "image", "acme/train@sha256:"+strings.Repeat("9f", 32)),
		},
		"times": {
			about("data-missing", "path", "outputs/2026-11-20/12-30-59/model.bin"), about("data-missing", "path", "outputs/2026-11-21/01-00-00/model.bin"),
		},
		"signed links": {
			about("data-download-failed", "url", "https://data.test/a.zip?X-Amz-Date=20261120T010203Z&X-Amz-Signature=0a1b&id=7"), about("data-download-failed", "url", "https://data.test/a.zip?X-Amz-Date=20261121T235959Z&X-Amz-Signature=ffff&id=7"),
		},
		"ephemeral ports": {
			about("transient-network", "host", "127.0.0.1:43211"), about("transient-network", "host", "127.0.0.1:60999"),
		},
		"numbered hosts": {
			about("transient-network", "host", "productionresultssa5.blob.test"), about("transient-network", "host", "productionresultssa19.blob.test"),
		},
		"pull requests": {
			about("checkout-failed", "ref", "refs/pull/12/merge"), about("checkout-failed", "ref", "refs/pull/3456/merge"),
		},
		"one assertion, other numbers": {
			said("E       AssertionError: assert 0.731 < 0.5"), said("E       AssertionError: assert 1.2e-05 < 0.5"), said("E  AssertionError: assert -12 < 10"),
		},
		"one exception, other measures": {
			said("RuntimeError: took 12.3s on rank 3, used 512 MiB (93%) at /tmp/tmpab12cd_9/x, id 0c2a4bd1-6a5f-4a11-9a94-2f1f6d7b8c90"),
			said("RuntimeError: took 7s on rank 11, used 3.5 GiB (7%) at /tmp/tmpzzzzzzzz/x, id ffffffff-6a5f-4a11-9a94-2f1f6d7b8c91"),
		},
		"a message, other numbers": {
			{Category: "code-error", Keys: []string{KeyText, "exception"}, Job: "a", Text: "IndexError: index 12 is out of range 10"}, {Category: "code-error", Keys: []string{KeyText, "exception"}, Job: "b", Text: "IndexError: index 7 is out of range 5"},
		},
		"workers": {said("worker 'gw0' crashed while running"), said("worker 'gw11' crashed while running")},
		"legs": {
			in("oom-killed", "train (3.10, ubuntu-22.04)", "Set up Python 3.10"), in("oom-killed", "train (3.12, windows-latest)", "Set up Python 3.12"), in("oom-killed", "train", "Set up Python 3.9.1"),
		},
		"legs with names of their own": {
			in("oom-killed", "py3.10 on ubuntu-latest, shard 1/4", ""), in("oom-killed", "py3.13t on macos-14-xlarge, shard 3/4", ""),
		},
		"legs of a reusable workflow": {
			in("oom-killed", "all (linux) / train (3.10)", "x"), in("oom-killed", "all (mac) / train (3.11, (a, b))", "x"),
		},
		"unknown causes on other legs": {
			{Category: Unknown, Job: "test (3.10)", Step: "Run tests", Text: "exit code 1"}, {Category: Unknown, Job: "test (3.11)", Step: "Run tests"},
		},
		"an outage without a host": {
			{Category: "transient-network", Remedy: RemedyRetry, Keys: []string{"host"}, Job: "a", Text: "Connection reset by peer"},
			{Category: "transient-network", Remedy: RemedyRetry, Keys: []string{"host"}, Job: "b", Text: "Read timed out"},
		},
		"keys in another order": {
			{Category: "a", Keys: []string{"x", "y", "x"}, Facts: map[string]string{"x": "1", "y": "2"}}, {Category: "a", Keys: []string{"y", "x"}, Facts: map[string]string{"x": "1", "y": "2", "z": "3"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := same[0].Fingerprint()
			for _, f := range same[1:] {
				if f.Fingerprint() != want {
					t.Errorf("they differ:\n%+v %q\n%+v %q", same[0], masked(same[0]), f, masked(f))
				}
			}
		})
	}
}

// masked is what enters the fingerprint, for the tests' messages.
func masked(f Finding) []string {
	list := []string{maskText(f.Text), maskJob(f.Job), maskName(f.Step)}
	for _, k := range f.Keys {
		list = append(list, maskFact(f.Facts[k]))
	}
	return list
}

// TestFingerprintsOfFailuresDiffer: what names a failure is not masked away.
func TestFingerprintsOfFailuresDiffer(t *testing.T) {
	t.Parallel()
	for name, different := range map[string][]Finding{
		"modules":       {about("missing-module", "module", "torch"), about("missing-module", "module", "torchvision"), about("missing-module", "module", "deadbeef"), about("missing-module", "module", "b64"), about("missing-module", "module", "b65")},
		"constraints":   {about("no-matching-distribution", "constraint", "==2.1.0"), about("no-matching-distribution", "constraint", "==2.1.1"), about("no-matching-distribution", "constraint", ">=2.1.0,<3")},
		"codes":         {about("lint", "code", "E501"), about("lint", "code", "E502"), about("lint", "code", "F401")},
		"tests":         {about("test-failure", "tests", "tests/test_a.py::test_x"), about("test-failure", "tests", "tests/test_a.py::test_y"), about("test-failure", "tests", "tests/test_b.py::test_x"), about("test-failure", "tests", "tests/test_a.py::TestX::test_x")},
		"parameters":    {about("test-failure", "tests", "test_a[1-0.5]"), about("test-failure", "tests", "test_a[2-0.5]"), about("test-failure", "tests", "test_a[2024-01-01T00:00:00]"), about("test-failure", "tests", "test_a[2024-01-02T00:00:00]"), about("test-failure", "tests", "test_a[1600000000]"), about("test-failure", "tests", "test_a[0x10]"), about("test-failure", "tests", "test_a[0x11]"), about("test-failure", "tests", `test_a[/tmp/x]`), about("test-failure", "tests", `test_a[/var/tmp/x]`)},
		"files":         {about("code-error", "file", "/home/runner/work/a/a/src/train.py"), about("code-error", "file", "/home/runner/work/a/a/src/eval.py"), about("code-error", "file", "/home/runner/work/a/a/lib/train.py"), about("code-error", "file", "/tmp/train.py"), about("code-error", "file", "/tmp/eval.py"), about("code-error", "file", "/home/runner/work/a/a/work/b/c/train.py")},
		"packages":      {about("api-change", "file", "/usr/lib/python3/dist-packages/pandas/a.py"), about("api-change", "file", "/usr/lib/python3/dist-packages/numpy/a.py")},
		"actions":       {about("deprecated-action", "version", "v2"), about("deprecated-action", "version", "v3"), about("deprecated-action", "version", "v3.1")},
		"images":        {about("container-image-not-found", "image", "ubuntu:22.04"), about("container-image-not-found", "image", "ubuntu:24.04"), about("container-image-not-found", "image", "nvidia/cuda:12.1.0-base"), about("container-image-not-found", "image", "nvidia/cuda:12.4.0-base")},
		"hosts":         {about("transient-network", "host", "localhost:8080"), about("transient-network", "host", "localhost:5432"), about("transient-network", "host", "pypi.test"), about("transient-network", "host", "")},
		"links":         {about("data-download-failed", "url", "https://data.test/a.zip?id=7"), about("data-download-failed", "url", "https://data.test/a.zip?id=8"), about("data-download-failed", "url", "https://data.test/b.zip?id=7")},
		"categories":    {about("a", "x", "1"), about("b", "x", "1")},
		"keys":          {about("a", "x", "1"), about("a", "y", "1")},
		"columns":       {about("data-schema", "column", "q1"), about("data-schema", "column", "q2"), about("data-schema", "column", "1")},
		"assertions":    {said("AssertionError: assert loss < 0.5"), said("AssertionError: assert accuracy < 0.5"), said("AssertionError: assert loss > 0.5")},
		"names in text": {said("ValueError: unknown code E501"), said("ValueError: unknown code E502"), said("ValueError: needs torch==2.1"), said("ValueError: needs torch==2.2"), said("ValueError: test_a[1]"), said("ValueError: test_a[2]"), said("codec utf-8"), said("codec utf-16")},
		"jobs":          {in("oom-killed", "train", "Run"), in("oom-killed", "evaluate", "Run"), in("oom-killed", "train", "Fit"), in("oom-killed", "train gpu", "Run"), in("oom-killed", "stage 1", "Run"), in("oom-killed", "stage 2", "Run")},
		"messages": {
			{Category: "code-error", Keys: []string{"exception", KeyText}, Facts: map[string]string{"exception": "AttributeError"}, Text: "AttributeError: 'A' object has no attribute 'x'"},
			{Category: "code-error", Keys: []string{"exception", KeyText}, Facts: map[string]string{"exception": "AttributeError"}, Text: "AttributeError: 'A' object has no attribute 'y'"},
			{Category: "code-error", Keys: []string{"exception", KeyText}, Facts: map[string]string{"exception": "TypeError"}, Text: "AttributeError: 'A' object has no attribute 'y'"},
		},
		"only a bracket": {in("oom-killed", "(3.10)", ""), in("oom-killed", "(linux)", "")},
		"unknown causes": {{Category: Unknown, Job: "test", Step: "a"}, {Category: Unknown, Job: "test", Step: "b"}, {Category: Unknown, Job: "lint", Step: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := map[string]Finding{}
			for _, f := range different {
				if other, found := seen[f.Fingerprint()]; found {
					t.Errorf("they are taken for one:\n%+v %q\n%+v %q", other, masked(other), f, masked(f))
				}
				seen[f.Fingerprint()] = f
			}
		})
	}
}

// FuzzMask: masking ends, is bounded, keeps UTF-8 whole, and hides what is random
// whatever stands before it.
func FuzzMask(f *testing.F) {
	for _, s := range []string{"", "/tmp/", "/tmp/tmp", `C:\Users\a\AppData\Local\Temp\`, "a[", "test_a[1]", "torch==2.1,<3", "1.2e-5 GiB", "(a) / (b)", "\xff\xfe[\xff]", "?sig=", "sha-", "2026-11-20T", strings.Repeat("/lib/python3", 200)} {
		f.Add(s, uint64(1)<<40, uint64(3)<<41)
	}
	f.Fuzz(func(t *testing.T, s string, a, b uint64) {
		for name, mask := range map[string]func(string) string{"fact": maskFact, "text": maskText, "job": maskJob, "step": maskName} {
			got := mask(s)
			if len(got) > 8*maxMasked {
				t.Errorf("%s: %d bytes of %d", name, len(got), len(s))
			}
			if name != "text" && !utf8.ValidString(got) {
				t.Errorf("%s: %q is no UTF-8", name, got)
			}
			if got != mask(s) {
				t.Errorf("%s: %q is masked in two ways", name, s)
			}
		}
		if len(s) > maxMasked/2 || strings.Contains(s, "[") {
			return // cut, or part of a test's name
		}
		for name, render := range map[string]func(uint64) string{
			"address": func(n uint64) string { return fmt.Sprintf("%s at 0x%012x", s, n&(1<<48-1)) },
			"id":      func(n uint64) string { return fmt.Sprintf("%s in %08x-0000-4000-8000-%012x.sh", s, n>>32, n&(1<<48-1)) },
			"temp":    func(n uint64) string { return fmt.Sprintf("%s in /tmp/tmp%08x/x", s, n&(1<<32-1)) },
		} {
			if x, y := maskFact(render(a)), maskFact(render(b)); x != y {
				t.Errorf("%s: %q and %q", name, x, y)
			}
			if x, y := maskText(render(a)), maskText(render(b)); x != y {
				t.Errorf("%s in text: %q and %q", name, x, y)
			}
		}
	})
}

func BenchmarkFingerprint(b *testing.B) {
	f := about("test-failure", "tests", "/home/runner/work/shop/shop/tests/test_train.py::TestFit::test_converges[adam-0.5]")
	g := said("E       AssertionError: assert 0.731 < 0.5 in /tmp/pytest-of-runner/pytest-12/test_a0/x.csv")
	for b.Loop() {
		_ = f.Fingerprint() + g.Fingerprint()
	}
}
