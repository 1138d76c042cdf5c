//! The Pod Security Standard "restricted" (Kubernetes 1.33), and what we hold to beyond it.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

/// All that a Pod breaks; empty is good.
pub(crate) fn violations(pod: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut hold = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    let on = |flag: Option<bool>| flag == Some(true);
    hold(!on(pod.host_network) && !on(pod.host_pid) && !on(pod.host_ipc), "shares a namespace of the host");
    hold(pod.host_users != Some(true), "asks for the host's users");
    hold(pod.volumes.iter().flatten().all(allowed_volume), "has a volume of a kind that is not allowed");
    hold(pod.enable_service_links == Some(false), "has the namespace's Services in its environment");
    hold(pod.automount_service_account_token.is_some(), "leaves open whether it gets an API token");
    let security = pod.security_context.clone().unwrap_or_default();
    hold(on(security.run_as_non_root), "may run as root");
    hold(security.run_as_user.is_some_and(|user| user != 0), "does not name a user other than root");
    let profile = security.seccomp_profile.map(|profile| profile.type_);
    hold(profile.as_deref() == Some("RuntimeDefault"), "has no seccomp profile");
    hold(security.sysctls.is_none() && security.se_linux_options.is_none(), "sets sysctls or SELinux options");
    hold(pod.init_containers.is_none() && pod.ephemeral_containers.is_none(), "has containers that nothing checks");
    for container in &pod.containers {
        for what in container_violations(container, &claims(pod)) {
            hold(false, &format!("container {}: {what}", container.name));
        }
    }
    found
}

/// Names of the volumes that are the pod's own: what is in them is for it to write.
fn claims(pod: &PodSpec) -> Vec<&str> {
    let own = |volume: &&Volume| volume.persistent_volume_claim.is_some() || volume.empty_dir.is_some();
    let claims = pod.volumes.iter().flatten().filter(own);
    claims.map(|volume| volume.name.as_str()).collect()
}

fn container_violations(container: &Container, claims: &[&str]) -> Vec<&'static str> {
    let security = container.security_context.clone().unwrap_or_default();
    let capabilities = security.capabilities.clone().unwrap_or_default();
    let mut mounts = container.volume_mounts.iter().flatten();
    let rules = [
        (security.privileged != Some(true), "is privileged"),
        (security.allow_privilege_escalation == Some(false), "may escalate privileges"),
        (security.read_only_root_filesystem == Some(true), "may write to its root file system"),
        (capabilities.drop == Some(vec!["ALL".to_owned()]), "keeps capabilities"),
        (capabilities.add.is_none(), "adds capabilities"),
        (security.run_as_user.is_none_or(|user| user != 0), "runs as root"),
        (security.run_as_non_root != Some(false), "may run as root"),
        (security.proc_mount.is_none() && security.se_linux_options.is_none(), "sets /proc or SELinux options"),
        (container.ports.iter().flatten().all(|port| port.host_port.is_none()), "takes a port of the host"),
        (mounts.all(|mount| mount.read_only == Some(true) || claims.contains(&&*mount.name)), "may write to a volume"),
        (container.env_from.is_none(), "takes a whole object into its environment"),
        (container.lifecycle.is_none() && container.command.is_none(), "runs something other than the image's binary"),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what).collect()
}

/// Of the kinds that "restricted" allows, those that we use. What is written to a node's disk is bounded.
fn allowed_volume(volume: &Volume) -> bool {
    let Volume { name: _, config_map, secret, projected, persistent_volume_claim, empty_dir, .. } = volume;
    let bare = Volume { name: volume.name.clone(), ..Volume::default() };
    let ours = Volume {
        config_map: config_map.clone(),
        secret: secret.clone(),
        projected: projected.clone(),
        persistent_volume_claim: persistent_volume_claim.clone(),
        empty_dir: empty_dir.clone().filter(|scratch| scratch.size_limit.is_some()),
        ..bare.clone()
    };
    ours == *volume && ours != bare
}
