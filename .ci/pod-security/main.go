// Judges the pods of manifests on standard input as the API server would in a namespace with the label
// pod-security.kubernetes.io/enforce: restricted, by the rules of that admission plugin itself.
// Usage: pod-security VERSION..., such as v1.28 latest; ends with 1 where a pod is refused, and where there is none.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	kyaml "sigs.k8s.io/yaml"
)

type pod struct {
	name string
	meta *metav1.ObjectMeta
	spec *corev1.PodSpec
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(versions []string) error {
	pods, err := readPods(os.Stdin)
	if err != nil {
		return err
	}
	if len(pods) == 0 || len(versions) == 0 {
		return errors.New("nothing to judge: give versions as arguments, and manifests with a pod on standard input")
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	var refused []error
	for _, text := range versions {
		version, err := api.ParseVersion(text)
		if err != nil {
			return err
		}
		level := api.LevelVersion{Level: api.LevelRestricted, Version: version}
		for _, pod := range pods {
			result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, pod.meta, pod.spec))
			if !result.Allowed {
				refused = append(refused, fmt.Errorf("%s is refused by restricted of %s: %s", pod.name, text, result.ForbiddenDetail()))
			}
		}
	}
	return errors.Join(refused...)
}

// readPods takes the pods and the templates of pods out of a stream of manifests.
func readPods(from io.Reader) ([]pod, error) {
	var pods []pod
	documents := yaml.NewYAMLReader(bufio.NewReader(from))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return pods, nil
		}
		if err != nil {
			return nil, err
		}
		var kind metav1.TypeMeta
		if err := kyaml.Unmarshal(document, &kind); err != nil {
			return nil, err
		}
		switch kind.Kind {
		case "Pod":
			var object corev1.Pod
			if err := kyaml.UnmarshalStrict(document, &object); err != nil {
				return nil, err
			}
			pods = append(pods, pod{"Pod " + object.Name, &object.ObjectMeta, &object.Spec})
		case "Deployment":
			var object appsv1.Deployment
			if err := kyaml.UnmarshalStrict(document, &object); err != nil {
				return nil, err
			}
			template := &object.Spec.Template
			pods = append(pods, pod{"Deployment " + object.Name, &template.ObjectMeta, &template.Spec})
		}
	}
}
