from queue_ext import webui

webui.register()
