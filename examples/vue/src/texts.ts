// Every sentence a person reads. A language is one more column; English fills its gaps.
import { ref, watchEffect } from "vue";

const english = {
  title: "Pictures",
  guest: "Continue without a name",
  signIn: "Sign in",
  signOut: "Leave",
  name: "Name",
  password: "Password",
  server: "Server",
  serverHint: "Empty: the one this page comes from.",
  welcome: "Describe a picture. It is made in turn, and you see your place in line.",
  expired: "Your login has expired. Please sign in again.",
  connecting: "connecting",
  live: "live",
  lost: "no connection, trying again",
  refused: "refused",
  idle: "not connected",
  retry: "Try again",
  prompt: "What is to be seen?",
  negative: "What is not?",
  size: "Size",
  steps: "Steps",
  count: "Pictures",
  start: "Picture to start from",
  strength: "How much may change",
  removeStart: "Without it",
  submit: "Make it",
  sending: "Sending…",
  line: "In line",
  waitingAll: "{n} waiting in all",
  nothing: "Nothing of yours is waiting.",
  next: "Yours is next",
  aheadOne: "1 before you",
  ahead: "{n} before you",
  about: "about {t}",
  soon: "any moment",
  running: "Being made",
  step: "step {step} of {steps}",
  at: "starts at {t}",
  after: "waits for another",
  cancel: "Cancel",
  pictures: "Your pictures",
  noPictures: "They appear here as soon as they are done.",
  failed: "Failed: {reason}",
  cancelled: "Cancelled",
  remove: "Remove",
  download: "Download",
  close: "Close",
  quota: "{n} left today",
  quotaNone: "none left today",
  ready: "Done: {prompt}",
  again: "An attempt failed and is repeated: {reason}",
  unreachable: "The server does not answer.",
  tooLarge: "This picture is too large: {reason}",
  limitReached: "That is all for now: {reason}",
  schedules: "Again and again",
  noSchedules: "Nothing repeats yet.",
  scheduleThis: "Repeat this",
  scheduleName: "Name",
  when: "When",
  daily: "every day at 9",
  weekdays: "weekdays at 9",
  hourly: "every hour",
  nextRun: "next: {t}",
  off: "off",
  on: "on",
  seconds: "{n} s",
  minutes: "{n} min",
  dismiss: "Dismiss",
};
const chinese: Record<keyof typeof english, string> = {
  title: "画图",
  guest: "不登录，直接使用",
  signIn: "登录",
  signOut: "离开",
  name: "用户名",
  password: "密码",
  server: "服务器",
  serverHint: "留空则使用本页面所在的服务器。",
  welcome: "描述一幅画，按顺序生成，并随时看到您的排队位置。",
  expired: "登录已过期，请重新登录。",
  connecting: "正在连接",
  live: "实时",
  lost: "没有连接，正在重试",
  refused: "被拒绝",
  idle: "未连接",
  retry: "重试",
  prompt: "画面内容",
  negative: "不要出现",
  size: "尺寸",
  steps: "步数",
  count: "数量",
  start: "起始图片",
  strength: "变化程度",
  removeStart: "不使用",
  submit: "生成",
  sending: "正在提交…",
  line: "排队中",
  waitingAll: "共 {n} 个任务等待",
  nothing: "您没有等待中的任务。",
  next: "下一个就是您",
  aheadOne: "前面还有 1 个任务",
  ahead: "前面还有 {n} 个任务",
  about: "约 {t}",
  soon: "马上开始",
  running: "正在生成",
  step: "第 {step} 步，共 {steps} 步",
  at: "{t} 开始",
  after: "等待其他任务",
  cancel: "取消",
  pictures: "您的图片",
  noPictures: "完成后会立即显示在这里。",
  failed: "失败：{reason}",
  cancelled: "已取消",
  remove: "移除",
  download: "下载",
  close: "关闭",
  quota: "今天还可提交 {n} 次",
  quotaNone: "今天的次数已用完",
  ready: "已完成：{prompt}",
  again: "一次尝试失败，将自动重试：{reason}",
  unreachable: "服务器没有响应。",
  tooLarge: "图片过大：{reason}",
  limitReached: "已达到上限：{reason}",
  schedules: "定时生成",
  noSchedules: "还没有定时任务。",
  scheduleThis: "定时重复",
  scheduleName: "名称",
  when: "时间",
  daily: "每天 9 点",
  weekdays: "工作日 9 点",
  hourly: "每小时",
  nextRun: "下次：{t}",
  off: "已停用",
  on: "已启用",
  seconds: "{n} 秒",
  minutes: "{n} 分钟",
  dismiss: "关闭提示",
};
const languages = { en: english, zh: chinese };
export type Language = keyof typeof languages;

const kept = localStorage.getItem("language");
export const language = ref<Language>(kept === "en" || kept === "zh" ? kept : navigator.language.startsWith("zh") ? "zh" : "en");

watchEffect(() => {
  localStorage.setItem("language", language.value);
  document.documentElement.lang = language.value;
  document.title = t("title");
});

export function t(key: keyof typeof english, values: Record<string, string | number> = {}): string {
  return languages[language.value][key].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** What went wrong, in the person's words as far as we have them. */
export function explain({ code, message }: { code: string; message: string }): string {
  if (code === "unreachable") return t("unreachable");
  if (code === "login_expired") return t("expired");
  if (code === "too_large") return t("tooLarge", { reason: message });
  return code === "limit_reached" ? t("limitReached", { reason: message }) : message;
}

/** Seconds as people say them: to the second below a minute and a half. */
export function duration(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  return whole < 90 ? t("seconds", { n: whole }) : t("minutes", { n: Math.round(whole / 60) });
}

export function clock(moment: string): string {
  return new Intl.DateTimeFormat(language.value, { dateStyle: "short", timeStyle: "short" }).format(new Date(moment));
}
