// SPDX-License-Identifier: Apache-2.0
//! What is on this machine: one file for each source, each giving its part of protocol 6.6.
//!
//! A source that is not there gives nothing; none keeps the others from being asked.

mod custom;
mod devices;
mod disks;
mod firmware;
mod hardware;
mod network;
mod packages;
mod processes;
mod system;
mod trusted;
mod updates;
mod users;
mod virtual_machines;

use protocol::inventory::Content;

pub use self::{
    custom::custom_properties,
    processes::Arguments,
    system::{capabilities, host_name},
};
use super::machine::Machine;
use crate::state::State;

/// Everything but what is about the agent.
pub async fn collect(machine: &Machine<'_>, state: &State, arguments: Arguments) -> Content {
    let firmware = firmware::Firmware::read(machine);
    let devices = devices::read(machine);
    let networks = network::read(machine);
    let operating_system = system::operating_system(machine);
    Content {
        bios: firmware::bios(machine),
        controllers: devices.controllers,
        cpus: hardware::processors(machine),
        drives: disks::file_systems(machine),
        environment: system::environment(machine),
        hardware: Some(hardware::summary(machine, &operating_system, &networks)),
        local_groups: users::groups(machine),
        local_users: users::users(machine),
        memories: firmware.memories,
        networks: networks.interfaces,
        operating_system: Some(operating_system),
        ports: firmware.ports,
        processes: processes::processes(machine, arguments),
        slots: firmware.slots,
        software: packages::packages(machine).await,
        software_updates: updates::updates(machine, state).await,
        sounds: devices.sounds,
        storages: disks::disks(machine),
        videos: devices.videos,
        virtual_machines: virtual_machines::virtual_machines(machine),
        ..Content::default()
    }
}

/// A text, unless there is nothing in it.
fn said(text: impl AsRef<str>) -> Option<String> {
    let text = text.as_ref().trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use protocol::inventory;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn what_is_said_of_this_machine_is_read_back_as_it_was_said() {
        let (stop, directory) = (CancellationToken::new(), tempfile::tempdir().unwrap());
        let state = State::open(directory.path()).unwrap();
        let content = collect(&Machine::new(Path::new("/"), &stop), &state, Arguments::Told).await;
        assert!(content.operating_system.is_some() && !content.processes.is_empty());
        assert!(content.cpus.iter().all(|cpu| cpu.cores.is_some_and(|cores| cores > 0)));
        let xml = inventory::write(&content, "device");
        let [read] = inventory::read(xml.as_bytes()).unwrap().content.try_into().unwrap();
        assert_eq!(
            updates::updates(&Machine::new(Path::new("/"), &stop), &state).await,
            read.software_updates
        );
        // Command lines may have what XML cannot say; once replaced, it stays.
        assert!(inventory::write(&read, "device") == xml, "read back as another");
        assert_eq!(
            (read.software, read.drives, read.networks),
            (content.software, content.drives, content.networks)
        );
    }
}
