// The hooks and functions that the hosts' page gives to extensions, and what its own buttons call.
const hooks = {loaded: [], update: [], after: [], tab: [], options: []};
const onUiLoaded = (call) => hooks.loaded.push(call);
const onUiUpdate = (call) => hooks.update.push(call);
const onAfterUiUpdate = (call) => hooks.after.push(call);
const onUiTabChange = (call) => hooks.tab.push(call);
const onOptionsChanged = (call) => hooks.options.push(call);

function gradioApp() {
    const app = document.querySelector("gradio-app");
    if (!app) return document;
    app.getElementById = (id) => document.getElementById(id);
    return app.shadowRoot || app;
}

function run(calls, argument) {
    for (const call of calls) {
        try {
            call(argument);
        } catch (error) {
            console.error("error running callback", error);
        }
    }
}

document.addEventListener("DOMContentLoaded", () => {
    let isLoaded = false, tab = null, timer = null;
    new MutationObserver((records) => {
        if (!isLoaded && gradioApp().querySelector("#txt2img_prompt")) {
            isLoaded = true;
            run(hooks.loaded);
        }
        run(hooks.update, records);
        clearTimeout(timer);
        timer = setTimeout(() => run(hooks.after), 200);
        const now = gradioApp().querySelector("#tabs > .tab-nav > button.selected");
        if (now && now !== tab) {
            tab = now;
            run(hooks.tab);
        }
    }).observe(gradioApp(), {childList: true, subtree: true});
});

document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const shown = [...document.querySelectorAll("button[id$=_generate]")].find((button) => button.offsetParent);
    if (shown) shown.click();
});

// --- submitting ---------------------------------------------------------------------------------------------------------

const isGradio4 = () => !String(window.gradio_config.version).startsWith("3");
const part = () => Math.random().toString(36).slice(2, 7);
function randomId() { return `task(${part()}${part()}${part()})`; }
function localSet(key, value) { localStorage.setItem(key, value); }
function localGet(key) { return localStorage.getItem(key); }
function localRemove(key) { localStorage.removeItem(key); }

function get_tab_index(id) {
    const buttons = [...document.getElementById(id).querySelector("div").querySelectorAll("button")];
    return Math.max(0, buttons.findIndex((button) => button.classList.contains("selected")));
}

function showSubmitButtons(tab, show) { setVisible(tab, !show, !show, false); }
function showSubmitInterruptingPlaceholder(tab) { setVisible(tab, false, true, true); }
function showRestoreProgressButton() {}
function setVisible(tab, interrupt, skip, interrupting) {
    for (const [name, show] of Object.entries({interrupt, skip, interrupting})) {
        const button = document.getElementById(`${tab}_${name}`);
        if (button) button.style.display = show ? "block" : "none";
    }
}

/** gradio 3 sends the outputs along behind the inputs: the gallery is not sent back; 4 wants no more than the inputs. */
function create_submit_args(given) {
    const values = Array.from(given);
    for (const back of isGradio4() ? [4, 3] : [3]) {
        if (!Array.isArray(values[values.length - back])) continue;
        if (isGradio4()) return values.slice(0, values.length - back);
        values[values.length - back] = null;
    }
    return values;
}

function submitted(tab, given) {
    showSubmitButtons(tab, false);
    const id = randomId();
    localSet(`${tab}_task_id`, id);
    const find = (end) => document.getElementById(`${tab}_gallery${end}`);
    requestProgress(id, find("_container"), find(""), () => {
        showSubmitButtons(tab, true);
        localRemove(`${tab}_task_id`);
    });
    const values = create_submit_args(given);
    values[0] = id;
    return values;
}

function submit() { return submitted("txt2img", arguments); }
function submit_extras() { return submitted("extras", arguments); }
function submit_img2img() {
    const values = submitted("img2img", arguments);
    if (!isGradio4()) values[1] = get_tab_index("mode_img2img");
    return values;
}

async function requestProgress(id, container, gallery, atEnd, onProgress) {
    let wasActive = false;
    for (let missed = 0; missed < 80; ) {
        const body = JSON.stringify({id_task: id, live_preview: false});
        const answer = await fetch("./internal/progress", {method: "POST", headers: {"Content-Type": "application/json"}, body}).catch(() => null);
        if (!answer || !answer.ok) break;
        const now = await answer.json();
        wasActive = wasActive || now.active;
        if (now.completed || (wasActive && !now.active)) break;
        missed = now.active || now.queued ? 0 : missed + 1;
        if (onProgress) onProgress(now);
        await new Promise((resolve) => setTimeout(resolve, 200));
    }
    atEnd();
}

// --- tabs, Reload UI ----------------------------------------------------------------------------------------------------

function open_tab(label) {
    const buttons = [...gradioApp().querySelectorAll("#tabs > .tab-nav > button")];
    const found = buttons.find((button) => button.textContent.trim().toLowerCase() === label);
    if (found) found.click();
    return [];
}
function open_mode(number) {
    open_tab("img2img");
    document.getElementById("mode_img2img").querySelector("div").querySelectorAll("button")[number].click();
    return [];
}
function switch_to_txt2img() { return open_tab("txt2img"); }
function switch_to_img2img() { return open_mode(0); }
function switch_to_inpaint() { return open_mode(2); }
function switch_to_extras() { return open_tab("extras"); }

function restart_reload() {
    const look = () => fetch("./internal/ping").then((answer) => (answer.ok ? location.reload() : Promise.reject())).catch(() => setTimeout(look, 500));
    setTimeout(look, 2000);
    return [];
}

// --- Forge's canvas -----------------------------------------------------------------------------------------------------

function standinCanvas(input, id) {
    const image = new Image();
    image.onload = () => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext("2d").drawImage(image, 0, 0);
        const text = document.querySelector(`#${id}.logical_image_background textarea, #${id}.logical_image_background input`);
        text.value = canvas.toDataURL("image/png");
        text.dispatchEvent(new Event("input", {bubbles: true}));
    };
    const reader = new FileReader();
    reader.onload = () => (image.src = reader.result);
    reader.readAsDataURL(input.files[0]);
    input.after(image);
}
