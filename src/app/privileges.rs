//! From root to an ordinary user, once every socket is bound.

use std::ffi::CString;

use nix::errno::Errno;
use nix::sys::prctl::{set_keepcaps, set_no_new_privs};
use nix::unistd::{User, geteuid, initgroups, setgid, setuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use socket2::{Domain, Socket, Type};

/// Why privileges were not dropped.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// The user is not in the system's table.
    #[error(
        "user: there is no user `{0}` on this machine; write the name of one, or \"\" to stay root"
    )]
    Unknown(String),
    /// A call failed.
    #[error("could not become the user `{user}`: {step} failed")]
    Failed {
        /// The user.
        user: String,
        /// The call.
        step: &'static str,
        /// Why.
        source: Errno,
    },
    /// Root could be had back.
    #[error("still root after becoming the user `{0}`")]
    StillRoot(String),
}

/// Whether this process runs as root.
pub(super) fn is_root() -> bool {
    geteuid().is_root()
}

/// Looks the user up, so that a misspelt one is found before anything is bound.
pub(super) fn find(user: &str) -> Result<User, PrivilegesError> {
    match User::from_name(user) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(PrivilegesError::Unknown(user.to_owned())),
        Err(source) => Err(PrivilegesError::Failed {
            user: user.to_owned(),
            step: "looking it up",
            source,
        }),
    }
}

/// Becomes the user, its groups included, for good: every thread, and no way back. Where packets are to be `marked`, the
/// one capability stays that this needs; it is that of this thread, and of those that it starts from now on.
pub(super) fn drop_to(user: &User, marked: bool) -> Result<(), PrivilegesError> {
    let failed = |step| {
        let user = user.name.clone();
        move |source| PrivilegesError::Failed { user, step, source }
    };
    let name = CString::new(user.name.as_str())
        .map_err(|_| PrivilegesError::Unknown(user.name.clone()))?;
    initgroups(&name, user.gid).map_err(failed("initgroups"))?;
    setgid(user.gid).map_err(failed("setgid"))?;
    set_keepcaps(marked).map_err(failed("prctl"))?;
    setuid(user.uid).map_err(failed("setuid"))?;
    if marked {
        keep_marks().map_err(failed("capset"))?;
    }
    // Not even a set-uid program would get it back.
    set_no_new_privs().map_err(failed("prctl"))?;
    if !user.uid.is_root() && (is_root() || setuid(0.into()).is_ok()) {
        return Err(PrivilegesError::StillRoot(user.name.clone()));
    }
    Ok(())
}

/// Gives up every capability but the weaker of those two that let packets be marked here.
fn keep_marks() -> Result<(), Errno> {
    let set = |permitted, effective| {
        let sets = CapabilitySets {
            effective,
            permitted,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).map_err(|error| Errno::from_raw(error.raw_os_error()))
    };
    let (raw, admin) = (CapabilitySet::NET_RAW, CapabilitySet::NET_ADMIN);
    let tried = set(raw | admin, raw).is_ok_and(|()| can_mark());
    let kept = if tried { raw } else { admin };
    match set(kept, kept) {
        // A container may never have had them. The mark is then told to be out of reach.
        Err(Errno::EPERM) => set(CapabilitySet::empty(), CapabilitySet::empty()),
        done => done,
    }
}

fn can_mark() -> bool {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None);
    socket.and_then(|socket| socket.set_mark(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_does_not_exist_is_named() {
        let error = find("no-such-user-here").unwrap_err().to_string();
        assert!(error.contains("`no-such-user-here`"), "{error}");
    }
}
