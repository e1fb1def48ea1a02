//! Users with only the rights that a Role gives them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::namespace::{Namespace, Run, kubectl};

impl Namespace {
    /// A kubeconfig in `dir` for a new user of this namespace who may do what `roles` (YAML of Roles, all named `role`) allow.
    pub(crate) fn user(&self, name: &str, roles: &str, role: &str, dir: &Path) -> PathBuf {
        self.apply(roles);
        self.kubectl(&["create", "serviceaccount", name]);
        let account = format!("--serviceaccount={}:{name}", self.name());
        self.kubectl(&["create", "rolebinding", name, &format!("--role={role}"), &account]);
        let path = dir.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, self.kubeconfig_of(name).to_string()).expect("a temporary folder takes a file");
        path
    }

    /// kubeconfigs may be JSON, since that is YAML too.
    fn kubeconfig_of(&self, name: &str) -> Value {
        let url = format!("/api/v1/namespaces/{}/serviceaccounts/{name}/token", self.name());
        let request =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}});
        let run = Run::with_input(kubectl().args(["create", "--raw", &url, "-f", "-"]), &request.to_string());
        let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", run.stderr));
        let admin = self.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
        let admin: Value = serde_json::from_str(&admin).expect("kubectl writes JSON");
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": admin["clusters"][0]["cluster"]}],
            "users": [{"name": name, "user": {"token": answer["status"]["token"]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": self.name()}}],
        })
    }
}
