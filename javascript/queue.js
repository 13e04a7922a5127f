// What the WebUI's page needs of the queue before its tab is opened: Enqueue beside Generate, its menu, keys and toast.
// The tab itself is loaded from /queue-ext/tab when it is first seen.
(function () {
    "use strict";

    const TEXTS = {
        en: {
            enqueue: "Enqueue",
            tip: "Queue what is on screen ({keys}). Right click for more",
            more: "More ways to enqueue",
            front: "Enqueue at the front",
            later: "Enqueue for later…",
            checkpoints: "Enqueue for several checkpoints…",
            times: "Enqueue several times with new seeds…",
            when: "Start at",
            which: "One job for each of",
            all: "All",
            howMany: "How many jobs",
            ok: "Enqueue",
            cancel: "Cancel",
            sending: "Queueing…",
            open: "Open the queue",
            close: "Close this message",
            nothing: "There is nothing to enqueue on this tab.",
            past: "Choose a time to come.",
            failed: "This could not be queued: the server did not answer.",
            eta: "{message} About {time}.",
            drop: "Cancel this job",
            noTab: "The Queue tab could not be loaded.",
            tab: "Queue",
        },
        zh: {
            enqueue: "加入队列",
            tip: "将当前界面的设置加入队列（{keys}）。右键查看更多",
            more: "更多加入方式",
            front: "插到队首",
            later: "定时加入队列…",
            checkpoints: "为多个模型加入队列…",
            times: "以新种子多次加入队列…",
            when: "开始时间",
            which: "为以下每个模型各加入一个任务",
            all: "全选",
            howMany: "任务数量",
            ok: "加入队列",
            cancel: "取消",
            sending: "正在加入队列…",
            open: "打开队列",
            close: "关闭此消息",
            nothing: "此标签页没有可加入队列的内容。",
            past: "请选择将来的时间。",
            failed: "未能加入队列：服务器没有响应。",
            eta: "{message}约 {time}。",
            drop: "取消此任务",
            noTab: "无法加载队列标签页。",
            tab: "队列",
        },
    };
    const DEFAULT_KEYS = "Ctrl+Shift+Enter";
    const TOAST = 6000; // ms a message stays
    const TWICE = 1000; // ms in which the same answer again is no trouble
    const ANSWER = 30000; // ms until an answer is missed
    const LOOK = 1000; // ms between two looks at a job whose pictures are to be shown
    const FOLLOWED = "queue_ext_followed"; // where a tab of the browser notes these jobs
    const MOMENT = /\d{4}-\d\d-\d\dT[\d:.]+Z/g;
    const SUFFIX = "_enqueue";
    const language = (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";
    const answered = new Map(); // clicks whose answers have been shown → when, ms
    const waiting = new Map(); // elem_id → {options, timer}: clicks that have not been answered
    const shows = new Map(); // elem_id → id of the job whose outcome is shown now
    const follows = new Map(); // elem_id → ids of the jobs whose outcomes are to be shown, in the order of their clicks
    let sendWhat = null;
    let introduced = null; // settled when the server has given this browser the cookie that its jobs go by

    function say(key, values) {
        const text = TEXTS[language][key] || TEXTS.en[key];
        return text.replace(/\{(\w+)\}/g, (_, name) => (values || {})[name]);
    }

    function make(tag, attributes, ...children) {
        const node = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes || {})) {
            if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
            else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
        }
        node.append(...children);
        return node;
    }

    function root() {
        return typeof gradioApp === "function" ? gradioApp() : document;
    }

    const find = (id) => root().querySelector(`[id="${CSS.escape(id)}"]`);
    const option = (name, fallback) => (typeof opts === "object" && opts && name in opts ? opts[name] : fallback);
    const address = (path) => {
        const base = (window.gradio_config && window.gradio_config.root) || location.pathname;
        return new URL(`${base.replace(/\/*$/, "/")}queue-ext/${path}`, location.href).href;
    };

    // --- the button -------------------------------------------------------------------------------------------------

    /** elem_ids of the buttons that can be queued. */
    function queueable() {
        return [...root().querySelectorAll(`button[id$="${SUFFIX}"].queue-ext-hidden`)].map((node) => node.id.slice(0, -SUFFIX.length));
    }

    function place() {
        for (const id of queueable()) {
            const button = find(id);
            if (!button || find(`${id}_queue_split`)) continue;
            const beside = button.closest(".generate-box") || button;
            const look = "lg secondary gradio-button";
            const tip = say("tip", {keys: option("queue_ext_shortcut", DEFAULT_KEYS) || "–"});
            const enqueueButton = make("button", {type: "button", class: `${look} queue-ext-enqueue`, title: tip, onclick: () => enqueue(id)}, say("enqueue"));
            const more = make(
                "button",
                {
                    type: "button",
                    class: `${look} queue-ext-more`,
                    title: say("more"),
                    "aria-label": say("more"),
                    "aria-haspopup": "menu",
                    onclick: (event) => openMenu(id, more, event),
                },
                "▾",
            );
            const split = make("div", {id: `${id}_queue_split`, class: "queue-ext-split", oncontextmenu: (event) => openMenu(id, more, event)}, enqueueButton, more);
            beside.after(split);
        }
    }

    /** Queue what is on screen, with what the menu said: {front, run_at, checkpoints, times, show}. */
    function enqueue(id, options) {
        const button = find(id + SUFFIX);
        if (!button) return toast(say("nothing"), {bad: true});
        const before = waiting.get(id);
        if (before) clearTimeout(before.timer);
        const timer = setTimeout(() => toast(say("failed"), {bad: true}), ANSWER);
        waiting.set(id, {options: options || {}, timer});
        const split = find(`${id}_queue_split`);
        if (split) split.classList.add("queue-ext-busy");
        introduce().then(() => button.click());
    }

    function introduce() {
        introduced = introduced || fetch(address("v1/me"), {credentials: "same-origin"}).catch(() => (introduced = null));
        return introduced || Promise.resolve();
    }

    /** Run by Gradio at that click: our options, then what the button's own JavaScript makes of its inputs. */
    async function collect(id, args, own, outputs, total, script) {
        const values = args.slice(1, 1 + total);
        const options = (waiting.get(id) || {}).options || {};
        if (script) {
            const padded = [...values.slice(0, own), ...Array(outputs).fill(null)];
            const made = await quietly(() => script(...padded));
            if (Array.isArray(made)) for (let n = 0; n < own && n < made.length; n++) values[n] = made[n];
        }
        return [JSON.stringify(options), ...values];
    }

    /** The scripts of Generate buttons also start the progress bar and note a task: not for a job that waits. */
    async function quietly(run) {
        const names = ["requestProgress", "showSubmitButtons", "showRestoreProgressButton", "localSet", "localRemove"];
        const saved = names.map((name) => window[name]);
        names.forEach((name) => typeof window[name] === "function" && (window[name] = () => {}));
        try {
            const made = run();
            return made;
        } catch (error) {
            console.warn("queue: the button's own script failed", error);
            return null;
        } finally {
            names.forEach((name, n) => (window[name] = saved[n]));
        }
    }

    /**
     * What became of a click, or the answer to a question. After a click that reached nobody, Gradio hands us the answer
     * to an earlier one again; also the later answer twice where two clicks were answered at once.
     */
    function told(text) {
        let outcome = JSON.parse(text || "{}");
        if (Date.now() - answered.get(outcome.click) < TWICE) return;
        if (!outcome.click || answered.has(outcome.click)) outcome = {text: say("failed")};
        else answered.set(outcome.click, Date.now());
        if (outcome.checkpoints) return chooseCheckpoints(outcome);
        for (const [id, click] of waiting) {
            if (outcome.button && id !== outcome.button) continue;
            clearTimeout(click.timer);
            waiting.delete(id);
            const split = find(`${id}_queue_split`);
            if (split) split.classList.remove("queue-ext-busy");
        }
        toast((outcome.text || "").replace(MOMENT, (time) => new Date(time).toLocaleString()), {bad: !outcome.ok});
        if (outcome.ok && outcome.show) follow(outcome.button, outcome.ids[outcome.ids.length - 1]);
    }

    // --- the menu -----------------------------------------------------------------------------------------------------

    function openMenu(id, anchor, event) {
        event.preventDefault();
        event.stopPropagation();
        const entries = [
            ["front", () => enqueue(id, {front: true})],
            ["later", () => chooseTime(id)],
            ["checkpoints", () => askCheckpoints(id)],
            ["times", () => chooseTimes(id)],
        ];
        closeAll();
        const menu = make("div", {class: "queue-ext-menu", role: "menu"});
        for (const [key, act] of entries) {
            const chosen = () => {
                closeAll();
                act();
            };
            menu.append(make("button", {type: "button", role: "menuitem", onclick: chosen}, say(key)));
        }
        menu.addEventListener("keydown", (pressed) => {
            const items = [...menu.children];
            const step = {ArrowDown: 1, ArrowUp: -1}[pressed.key];
            if (step) items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
            if (step) pressed.preventDefault();
        });
        show(menu, anchor);
        menu.firstChild.focus();
    }

    /** Put something below (or above) an anchor, inside the window. */
    function show(node, anchor) {
        document.body.append(node);
        const at = anchor.getBoundingClientRect();
        const below = at.bottom + node.offsetHeight + 8 < innerHeight;
        node.style.left = `${Math.max(8, Math.min(at.right - node.offsetWidth, innerWidth - node.offsetWidth - 8))}px`;
        node.style.top = `${Math.max(8, below ? at.bottom + 4 : at.top - node.offsetHeight - 4)}px`;
    }

    function closeAll() {
        document.querySelectorAll(".queue-ext-menu, .queue-ext-dialog").forEach((node) => node.remove());
    }

    function dialog(id, title, body, act) {
        closeAll();
        const form = make(
            "form",
            {
                class: "queue-ext-dialog",
                role: "dialog",
                "aria-label": title,
                onsubmit: (event) => {
                    event.preventDefault();
                    if (act() !== false) closeAll();
                },
            },
            make("label", {class: "queue-ext-title", for: "queue_ext_first"}, title),
            body,
            make(
                "div",
                {class: "queue-ext-actions"},
                make("button", {type: "button", class: "sm secondary gradio-button", onclick: closeAll}, say("cancel")),
                make("button", {type: "submit", class: "sm primary gradio-button"}, say("ok")),
            ),
        );
        show(form, find(`${id}_queue_split`));
        const first = form.querySelector("input");
        if (first) first.focus();
    }

    function chooseTime(id) {
        const soon = new Date(Date.now() + 3600e3);
        soon.setMinutes(soon.getMinutes() - soon.getTimezoneOffset(), 0, 0);
        const input = make("input", {id: "queue_ext_first", type: "datetime-local", required: true, value: soon.toISOString().slice(0, 16)});
        dialog(id, say("when"), input, () => {
            const at = new Date(input.value);
            if (!(at > new Date())) {
                toast(say("past"), {bad: true});
                return false;
            }
            enqueue(id, {run_at: at.toISOString()});
        });
    }

    function chooseTimes(id) {
        const input = make("input", {id: "queue_ext_first", type: "number", min: 1, max: 100, step: 1, required: true, value: 4});
        dialog(id, say("howMany"), input, () => enqueue(id, {times: Number(input.value)}));
    }

    let askedFor = null;

    function askCheckpoints(id) {
        askedFor = id;
        const button = find(`${id}_queue_ask`);
        if (button) button.click();
    }

    function chooseCheckpoints(answer) {
        const id = askedFor;
        if (!id) return;
        const boxes = answer.checkpoints.map((name) => make("input", {type: "checkbox", value: name, checked: name === answer.current}));
        const all = make("input", {type: "checkbox", id: "queue_ext_first", onchange: () => boxes.forEach((box) => (box.checked = all.checked))});
        const rows = boxes.map((box) => make("label", {}, box, box.value));
        const list = make("div", {class: "queue-ext-list"}, make("label", {class: "queue-ext-all"}, all, say("all")), ...rows);
        dialog(id, say("which"), list, () => {
            const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
            if (!chosen.length) return false;
            enqueue(id, {checkpoints: chosen});
        });
    }

    // --- the toast ----------------------------------------------------------------------------------------------------

    function toast(text, look) {
        let area = document.querySelector(".queue-ext-toasts");
        if (!area) {
            area = make("div", {class: "queue-ext-toasts", role: "status", "aria-live": "polite"});
            document.body.append(area);
        }
        const bad = look && look.bad;
        const close = make("button", {type: "button", class: "queue-ext-close", "aria-label": say("close"), onclick: () => note.remove()}, "×");
        const open = bad ? "" : make("a", {href: "#queue", onclick: openTab}, say("open"));
        const note = make("div", {class: `queue-ext-toast${bad ? " bad" : ""}`}, make("span", {}, text || say("failed")), open, close);
        area.append(note);
        while (area.children.length > 4) area.firstChild.remove();
        let timer = setTimeout(() => note.remove(), bad ? TOAST * 2 : TOAST);
        note.addEventListener("mouseenter", () => clearTimeout(timer));
        note.addEventListener("mouseleave", () => (timer = setTimeout(() => note.remove(), TOAST / 2)));
    }

    // --- the tab ------------------------------------------------------------------------------------------------------

    /** What leads to our tab. */
    function tabButton() {
        const mount = document.getElementById("queue_ext");
        const panel = mount && mount.closest("#tabs > .tabitem");
        const panels = panel ? [...panel.parentElement.querySelectorAll(":scope > .tabitem")] : [];
        return root().querySelectorAll("#tabs > .tab-nav > button")[panels.indexOf(panel)];
    }

    /** The server names the tab, and does not know the browser's language; gradio 3 makes the button anew when it is chosen. */
    function nameTab() {
        if (say("tab") === TEXTS.en.tab) return;
        const name = [...(tabButton()?.childNodes || [])].find((node) => node.nodeType === Node.TEXT_NODE && node.data.trim() === TEXTS.en.tab);
        if (name) name.data = say("tab");
    }

    function openTab(event) {
        if (event) event.preventDefault();
        const button = tabButton();
        if (button) {
            button.focus(); // where the link was that brought us here, there is nothing soon
            button.click();
        }
        setTimeout(enterTab, 50);
    }

    /** Another tab of the page is open; in ours, its lines tell what the toasts told, and lie under them. */
    function enterTab() {
        loadTab();
        if (isTabOpen()) document.querySelectorAll(".queue-ext-toast:not(.bad)").forEach((note) => note.remove());
    }

    function isTabOpen() {
        const panel = document.getElementById("queue_ext")?.closest(".tabitem");
        return !!panel && panel.offsetParent !== null;
    }

    let loaded = null;

    /** Load the tab's own modules when it is first seen. */
    function loadTab() {
        const mount = document.getElementById("queue_ext");
        if (loaded || !isTabOpen()) return;
        loaded = import(address("tab/js/main.js"))
            .then((tab) => tab.start(mount))
            .catch((error) => {
                console.error("queue:", error);
                loaded = null;
                toast(say("noTab"), {bad: true});
            });
    }

    // --- keys, and Generate that also queues --------------------------------------------------------------------------

    function matches(event, keys) {
        const parts = keys.split("+").map((part) => part.trim().toLowerCase());
        const key = parts.pop();
        const pressed = event.key === " " ? "space" : (event.key || "").toLowerCase();
        const wants = (name) => parts.includes(name);
        return (
            key !== "" &&
            pressed === key &&
            (event.ctrlKey || event.metaKey) === (wants("ctrl") || wants("cmd") || wants("meta")) &&
            event.shiftKey === wants("shift") &&
            event.altKey === wants("alt")
        );
    }

    const visible = () => queueable().find((id) => find(id) && (find(`${id}_queue_split`) || find(id)).offsetParent !== null);
    const instead = () => option("queue_ext_generate", false) === true;

    function onKey(event) {
        if (event.key === "Escape" && document.querySelector(".queue-ext-menu, .queue-ext-dialog")) {
            event.stopImmediatePropagation();
            return closeAll();
        }
        if (matches(event, option("queue_ext_shortcut", DEFAULT_KEYS) || "")) {
            // The page takes every Ctrl+Enter for Generate, or for Interrupt.
            event.preventDefault();
            event.stopImmediatePropagation();
            whenReady(() => {
                const id = visible();
                if (id) enqueue(id, instead() ? {show: true} : {});
                else toast(say("nothing"), {bad: true});
            });
        } else if (instead() && event.key === "Enter" && event.shiftKey && !event.ctrlKey && event.target.closest("[id$=_prompt]")) {
            const id = visible();
            if (!id) return;
            event.preventDefault();
            event.stopImmediatePropagation();
            enqueue(id, {show: true});
        }
    }

    /** Keys pressed while the page is still loading count as well. */
    function whenReady(act, tries = 100) {
        if (queueable().length || tries === 0) act();
        else setTimeout(() => whenReady(act, tries - 1), 100);
    }

    function onClick(event) {
        const target = event.target instanceof Element ? event.target : null;
        if (!target) return;
        // Only a person's click: the host's own scripts click as well, its token counter 0.8 s after every change.
        if (event.isTrusted && !target.closest(".queue-ext-menu, .queue-ext-dialog")) closeAll();
        const button = instead() && target.closest("button");
        if (button && queueable().includes(button.id)) {
            event.preventDefault();
            event.stopImmediatePropagation();
            enqueue(button.id, {show: true});
        }
    }

    /** Show a job's progress and pictures where Generate would have put them; one job after the other. */
    async function follow(id, jobId) {
        const line = follows.get(id) || [];
        follows.set(id, line);
        line.push(jobId);
        note();
        if (line.length > 1) return;
        while (line.length) {
            if (await ended(id, line[0])) {
                shows.set(id, line[0]);
                const button = find(`${id}_queue_show`);
                if (button) button.click();
            }
            line.shift();
            note();
        }
    }

    /** A page that is loaded anew goes on with them, as it does with a picture that Generate makes. */
    function note() {
        sessionStorage.setItem(FOLLOWED, JSON.stringify(Object.fromEntries(follows)));
    }

    function goOn() {
        for (const [id, jobs] of Object.entries(JSON.parse(sessionStorage.getItem(FOLLOWED) || "{}"))) {
            if (find(`${id}_queue_show`)) jobs.forEach((jobId) => follow(id, jobId));
        }
    }

    /** Wait for a job's end, telling how it stands; false when there is nothing to wait for any more. */
    async function ended(id, jobId) {
        const bar = makeBar(id, jobId);
        try {
            for (;;) {
                const answer = await fetch(address(`v1/jobs/${jobId}`), {credentials: "same-origin"}).catch(() => null);
                if (answer && answer.status < 500) {
                    if (!answer.ok) return false;
                    const job = await answer.json();
                    if (["succeeded", "failed", "deleted"].includes(job.state)) return true;
                    bar.tell(job);
                }
                await new Promise((resolve) => setTimeout(resolve, LOOK));
            }
        } finally {
            bar.remove();
        }
    }

    /** What stands above the gallery: the place in line; while the job runs, the page's own progress and live preview. */
    function makeBar(id, jobId) {
        const tab = id.replace(/_generate$/, "");
        const [container, gallery] = [find(`${tab}_gallery_container`), find(`${tab}_gallery`)];
        if (!container) return {tell: () => {}, remove: () => {}};
        const text = make("span", {class: "queue-ext-place", role: "status"});
        const drop = () => fetch(address(`v1/jobs/${jobId}`), {method: "DELETE", credentials: "same-origin"}).catch(() => null);
        const progress = make("div", {class: "queue-ext-progress"}, text);
        const close = make("button", {type: "button", class: "queue-ext-close", title: say("drop"), "aria-label": say("drop"), onclick: drop}, "×");
        const bar = make("div", {class: "queue-ext-bar"}, progress, close);
        container.before(bar);
        let isShown = false;
        return {
            tell(job) {
                text.textContent = job.eta_s ? say("eta", {message: job.message, time: duration(job.eta_s)}) : job.message;
                if (isShown || job.state !== "processing" || typeof requestProgress !== "function") return;
                isShown = true;
                const over = () => (isShown = false);
                requestProgress(`task(queue-${jobId})`, text, gallery, over); // which is over as well when nothing happens for 40 s
            },
            remove: () => bar.remove(),
        };
    }

    function duration(seconds) {
        const [unit, size] = seconds < 60 ? ["second", 1] : seconds < 3600 ? ["minute", 60] : ["hour", 3600];
        const count = Math.max(1, Math.round(seconds / size));
        return new Intl.NumberFormat(language, {style: "unit", unit, unitDisplay: "short"}).format(count);
    }

    // --- for the tab --------------------------------------------------------------------------------------------------

    /** Send a finished picture to "txt2img", "img2img", "inpaint" or "extras". */
    function sendTo(target, imageUrl, infotext) {
        sendWhat = {target, url: imageUrl, infotext: infotext || ""};
        const button = find("queue_ext_send");
        if (button) button.click();
    }

    function sent() {
        const button = sendWhat && find(`queue_ext_send_${sendWhat.target}`);
        if (button) setTimeout(() => button.click(), 100);
    }

    window.queueExt = {
        told,
        collect,
        enqueue,
        sendTo,
        sent,
        openTab,
        toSend: () => JSON.stringify(sendWhat || {}),
        toShow: (id) => JSON.stringify({job: shows.get(id)}),
    };
    window.addEventListener("keydown", onKey, true);
    window.addEventListener("click", onClick, true);
    /** The host's own button "send to inpaint" calls a function of this name, which its page does not have. */
    function mend() {
        if (typeof recalculate_prompts_img2img !== "function" || window.recalculate_prompts_inpaint) return;
        window.recalculate_prompts_inpaint = recalculate_prompts_img2img;
    }

    onUiLoaded(() => {
        mend();
        introduce();
        place();
        nameTab();
        goOn();
        loadTab();
    });
    onAfterUiUpdate(() => {
        place();
        nameTab();
        loadTab();
    });
    onUiTabChange(() => setTimeout(enterTab, 0));
})();
