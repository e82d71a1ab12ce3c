// SPDX-License-Identifier: Apache-2.0
//! The document as a whole, and who it is from.

use super::{
    element::elements,
    hardware::{
        Battery, Bios, Controller, Cpu, Drive, Hardware, LogicalVolume, Memory, PhysicalVolume, Port, Slot,
        Sound, Storage, Video, VirtualMachine, VolumeGroup,
    },
    software::{Antivirus, Process, Software, SoftwareUpdate, Variable},
    system::{Firewall, LocalGroup, LocalUser, Network, OperatingSystem},
};

elements! {
    /// The root element, `REQUEST`.
    Request {
        /// All that matters. A valid document has one.
        content: Vec<Content> = "CONTENT",
        /// Name of the machine and date of its first inventory; only that it is there counts.
        device_id: Option<String> = "DEVICEID",
        /// `INVENTORY`.
        query: Option<String> = "QUERY",
    }

    /// What a node says of itself.
    Content {
        /// When it was made.
        access_log: Option<AccessLog> = "ACCESSLOG",
        /// Programs against malware (Windows).
        antivirus: Vec<Antivirus> = "ANTIVIRUS",
        /// Batteries.
        batteries: Vec<Battery> = "BATTERIES",
        /// Firmware, mainboard, and the machine as its maker calls it.
        bios: Option<Bios> = "BIOS",
        /// Devices on buses.
        controllers: Vec<Controller> = "CONTROLLERS",
        /// Processors.
        cpus: Vec<Cpu> = "CPUS",
        /// Mounted file systems.
        drives: Vec<Drive> = "DRIVES",
        /// Environment of the program that made the inventory.
        environment: Vec<Variable> = "ENVS",
        /// State of the firewall.
        firewall: Vec<Firewall> = "FIREWALL",
        /// Summary of the machine.
        hardware: Option<Hardware> = "HARDWARE",
        /// Local groups.
        local_groups: Vec<LocalGroup> = "LOCAL_GROUPS",
        /// Local users.
        local_users: Vec<LocalUser> = "LOCAL_USERS",
        /// Logical volumes.
        logical_volumes: Vec<LogicalVolume> = "LOGICAL_VOLUMES",
        /// Memory modules.
        memories: Vec<Memory> = "MEMORIES",
        /// Network interfaces: one entry for each address.
        networks: Vec<Network> = "NETWORKS",
        /// Operating system.
        operating_system: Option<OperatingSystem> = "OPERATINGSYSTEM",
        /// Physical volumes.
        physical_volumes: Vec<PhysicalVolume> = "PHYSICAL_VOLUMES",
        /// Ports of the mainboard.
        ports: Vec<Port> = "PORTS",
        /// Running processes.
        processes: Vec<Process> = "PROCESSES",
        /// Identity, agents, properties. A valid document has one.
        rudder: Vec<Rudder> = "RUDDER",
        /// Slots of the mainboard.
        slots: Vec<Slot> = "SLOTS",
        /// Installed packages and programs.
        software: Vec<Software> = "SOFTWARES",
        /// Updates on offer.
        software_updates: Vec<SoftwareUpdate> = "SOFTWAREUPDATES",
        /// Sound devices.
        sounds: Vec<Sound> = "SOUNDS",
        /// Disks and drives.
        storages: Vec<Storage> = "STORAGES",
        /// Name and version of the program that made the inventory.
        client: Option<String> = "VERSIONCLIENT",
        /// Graphics devices.
        videos: Vec<Video> = "VIDEOS",
        /// Virtual machines on this one.
        virtual_machines: Vec<VirtualMachine> = "VIRTUALMACHINES",
        /// Volume groups.
        volume_groups: Vec<VolumeGroup> = "VOLUME_GROUPS",
    }

    /// When an inventory was made.
    AccessLog {
        /// `2025-06-11 08:26:11`, in local time, or with an offset.
        log_date: Option<String> = "LOGDATE",
    }

    /// Who it is from.
    Rudder {
        /// Agents, the first usable one counts.
        agents: Vec<Agent> = "AGENT",
        /// What the agent can do.
        capabilities: Option<Capabilities> = "AGENT_CAPABILITIES",
        /// Version of the agent.
        agent_version: Option<String> = "AGENT_VERSION",
        /// What hooks say: an array of objects.
        custom_properties: Option<serde_json::Value> = "CUSTOM_PROPERTIES",
        /// Host name.
        hostname: Option<String> = "HOSTNAME",
        /// Roles of a policy server.
        server_roles: Option<Roles> = "SERVER_ROLES",
        /// Id of the node.
        uuid: Option<String> = "UUID",
    }

    /// An agent.
    Agent {
        /// Certificate of the node, PEM.
        certificate: Option<String> = "AGENT_CERT",
        /// `cfengine-community` or `dsc`.
        name: Option<String> = "AGENT_NAME",
        /// Public key of the node, PEM.
        key: Option<String> = "CFENGINE_KEY",
        /// Account that the agent runs as.
        owner: Option<String> = "OWNER",
        /// Host name of the policy server.
        policy_server_hostname: Option<String> = "POLICY_SERVER_HOSTNAME",
        /// Node id of the policy server.
        policy_server: Option<String> = "POLICY_SERVER_UUID",
    }

    /// Capabilities.
    Capabilities {
        /// `cfengine`, `curl`, `http_reporting`, `yaml`, `xml`, `jq`, `acl`.
        names: Vec<String> = "AGENT_CAPABILITY",
    }

    /// Roles.
    Roles {
        /// Such as `rudder-relay`.
        names: Vec<String> = "SERVER_ROLE",
    }
}
