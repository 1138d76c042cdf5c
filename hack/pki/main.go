// Command pki writes everything that the parts of one local cluster need to
// trust each other: a CA, a certificate and a kubeconfig per part, and the key
// that signs ServiceAccount tokens. All of it dies with the cluster.
//
//	pki -dir DIR -cluster demo -server 10.254.1.2 -service 10.96.0.1 demo-1=10.254.1.2 demo-2=10.254.2.2
package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	dir := flag.String("dir", "", "folder to write to; must exist")
	cluster := flag.String("cluster", "", "name of the cluster")
	server := flag.String("server", "", "address of the API server")
	service := flag.String("service", "", "address of the 'kubernetes' Service")
	flag.Parse()

	a := authority{dir: *dir, cluster: *cluster, server: *server}
	if err := a.writeAll(*service, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "error: pki:", err)
		os.Exit(1)
	}
}

type authority struct {
	dir, cluster, server string
	key                  *ecdsa.PrivateKey
	cert                 *x509.Certificate
	certPEM              []byte
}

// identity is who a certificate speaks for, and where it may be a server.
type identity struct {
	file         string
	user         string
	organization string
	hosts        []string
	kubeconfig   bool
}

func (a *authority) writeAll(service string, nodes []string) error {
	if a.dir == "" || a.cluster == "" || a.server == "" || service == "" || len(nodes) == 0 {
		return fmt.Errorf("usage: pki -dir DIR -cluster NAME -server IP -service IP NODE=IP...")
	}
	if err := a.create(); err != nil {
		return err
	}
	identities := []identity{
		{file: "apiserver", user: "kube-apiserver", hosts: []string{
			a.server, service, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default",
			"kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		}},
		{file: "apiserver-kubelet-client", user: "kube-apiserver-kubelet-client", organization: "system:masters"},
		{file: "admin", user: "admin", organization: "system:masters", kubeconfig: true},
		{file: "controller-manager", user: "system:kube-controller-manager", kubeconfig: true},
		{file: "scheduler", user: "system:kube-scheduler", kubeconfig: true},
		{file: "proxy", user: "system:kube-proxy", kubeconfig: true},
	}
	for _, node := range nodes {
		name, ip, found := strings.Cut(node, "=")
		if !found {
			return fmt.Errorf("%q: want NODE=IP", node)
		}
		identities = append(identities, identity{
			file: "kubelet-" + name, user: "system:node:" + name, organization: "system:nodes",
			hosts: []string{name, ip}, kubeconfig: true,
		})
	}
	for _, id := range identities {
		if err := a.issue(id); err != nil {
			return fmt.Errorf("%s: %w", id.file, err)
		}
	}
	return a.writeServiceAccountKey()
}

func (a *authority) create() (err error) {
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	template := a.template("convene local cluster " + a.cluster)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	if a.cert, a.certPEM, err = sign(template, template, &a.key.PublicKey, a.key); err != nil {
		return err
	}
	return a.write(file{"ca.crt", a.certPEM})
}

func (a *authority) issue(id identity) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := a.template(id.user)
	if id.organization != "" {
		template.Subject.Organization = []string{id.organization}
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(id.hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range id.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	_, certPEM, err := sign(template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	if id.kubeconfig {
		if err := a.write(file{id.file + ".kubeconfig", a.kubeconfig(certPEM, keyPEM)}); err != nil {
			return err
		}
	}
	return a.write(file{id.file + ".crt", certPEM}, file{id.file + ".key", keyPEM})
}

// kubeconfig carries its keys inside, so that it works from wherever it is copied to.
func (a *authority) kubeconfig(cert, key []byte) []byte {
	encode := base64.StdEncoding.EncodeToString
	name := "convene-" + a.cluster
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    server: https://%[2]s:6443
    certificate-authority-data: %[3]s
users:
- name: %[1]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[1]s}
current-context: %[1]s
`, name, a.server, encode(a.certPEM), encode(cert), encode(key))
}

// RSA, as clusters in the wild have it: whoever verifies tokens must cope with RS256.
func (a *authority) writeServiceAccountKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	private, err := encodeKey(key)
	if err != nil {
		return err
	}
	return a.write(file{"service-account.key", private}, file{"service-account.pub", encode("PUBLIC KEY", public)})
}

func (a *authority) template(user string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // the system's random source is gone
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: user},
		// A clock that is a little behind must not refuse a cluster made just now.
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().AddDate(1, 0, 0),
	}
}

type file struct {
	name string
	data []byte
}

func (a *authority) write(files ...file) error {
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(a.dir, f.name), f.data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, []byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, encode("CERTIFICATE", der), err
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return encode("PRIVATE KEY", der), err
}

func encode(kind string, der []byte) []byte {
	var out bytes.Buffer
	if err := pem.Encode(&out, &pem.Block{Type: kind, Bytes: der}); err != nil {
		panic(err) // a buffer takes every write
	}
	return out.Bytes()
}
